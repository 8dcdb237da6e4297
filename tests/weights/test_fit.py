"""A report on keys is exact, and loading is all or nothing."""

import pytest
import timm
import torch

import pacavit.models  # noqa: F401, registers the variants
from pacavit.errors import PacavitError
from pacavit.weights import Fit, load


def zeros(**shapes):
    return {key: torch.zeros(shape) for key, shape in shapes.items()}


def test_each_key_is_in_one_place():
    fit = Fit.of(zeros(a=(2,), b=(3, 1), d=(1,)), zeros(a=(2,), b=(1, 3), c=(), e=(4,)))
    assert fit == Fit(matched=("a",), missing=("d",), unknown=("c", "e"), misfit={"b": ((1, 3), (3, 1))})
    assert fit.problems() == ["b is (1, 3), not (3, 1)", "c unknown", "d missing", "e unknown"]
    assert fit.problems(allowed={"b"}) == ["c unknown", "d missing", "e unknown"]


def test_whole_numbers_do_not_fit_where_the_model_has_real_ones():
    own = {"a": torch.zeros(2), "b": torch.zeros(2), "count": torch.tensor(0)}
    fit = Fit.of(
        own, {"a": torch.ones(2, dtype=torch.int8), "b": torch.ones(2).half(), "count": torch.tensor(0.0)}
    )
    assert fit.mistyped == {"a": (torch.int8, torch.float32)}
    assert fit.matched == ("b", "count")
    assert fit.problems() == ["a is torch.int8, not torch.float32"]


def test_what_fits_passes():
    Fit.of(zeros(a=(2,)), zeros(a=(2,))).require("file", "the model")
    Fit.of(zeros(a=(2,)), zeros(a=(3,))).require("file", "the model", allowed={"a"})


def test_the_error_names_file_model_and_keys_and_where_to_see_all():
    fit = Fit.of(zeros(**{f"k{i}": (1,) for i in range(7)}), {})
    with pytest.raises(
        PacavitError, match=r"f\.pth: does not fit the model in 7 places: k0 missing, .*inspect"
    ):
        fit.require("f.pth", "the model")


def test_weights_are_loaded(state, saved):
    other = timm.create_model("test_pacavit", num_classes=10)
    load(other, saved({"state_dict": state}))
    assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())


def test_a_model_stays_as_it_is_where_something_does_not_fit(state, saved):
    other = timm.create_model("test_pacavit", num_classes=10)
    before = {key: value.clone() for key, value in other.state_dict().items()}
    state["head.bias"] = torch.zeros(11)
    with pytest.raises(PacavitError, match=r"PaCaViT in 1 places: head\.bias is \(11,\), not \(10,\)"):
        load(other, saved(state))
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())
