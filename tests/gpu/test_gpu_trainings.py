"""The miniature's trainings in mixed precision on a GPU: interrupted and resumed, against undisturbed ones."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from gpu_helpers import relative
from gpu_trainings import TRAININGS, Trained, run, run_in_two

pytestmark = pytest.mark.gpu

#: Updates before the interruption.
AFTER = 3
#: Where the order of a sum is free: how much farther from an undisturbed training than that is from a second one.
FACTOR, LEAST = 10.0, 1e-3
#: How torch says that an operator adds in an order of its own.
LACKING = re.compile(
    r"(.+?) (?:does not have a deterministic implementation|defaults to a non-deterministic)"
)


@pytest.fixture
def precision(request, device):
    """The precision, or fp32 where fine-tuning has no other: on a processor."""
    return request.param if device.type == "cuda" else "fp32"


@contextmanager
def deterministic(mode: str) -> Iterator[set[str]]:
    """Ask torch for one order of every sum; yield what it says has none.

    Args:
        mode: ``off``; ``strict``, where torch raises for an operator that has none; ``warned``, where it goes on.
    """
    lacking: set[str] = set()
    torch.use_deterministic_algorithms(mode != "off", warn_only=mode == "warned")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield lacking
    finally:
        torch.use_deterministic_algorithms(False)
    lacking |= {found[1] for w in caught if (found := LACKING.match(str(w.message)))}


@pytest.fixture
def thrice(create_job, monkeypatch, record_property):
    """A function that trains twice undisturbed and once interrupted, notes how they differ, and returns all three."""

    def train(name: str, precision: str, mode: str) -> tuple[Trained, Trained, Trained]:
        with deterministic(mode) as lacking:
            first, second = (
                run(create_job, name, f"{mode}-{i}", precision=precision) for i in ("first", "second")
            )
            resumed = run_in_two(create_job, monkeypatch, name, f"{mode}-resumed", AFTER, precision=precision)
        record_property(f"{mode}: two undisturbed", _compared(first, second))
        record_property(f"{mode}: undisturbed and resumed", _compared(first, resumed))
        if lacking:
            record_property(f"{mode}: without one order", ", ".join(sorted(lacking)))
        return first, second, resumed

    return train


@pytest.mark.parametrize("precision", ["fp16", "bf16"], indirect=True)
@pytest.mark.parametrize("name", TRAININGS)
def test_an_interrupted_training_ends_near_an_undisturbed_one(thrice, name, precision):
    assert_near(*thrice(name, precision, "off"))


@pytest.mark.parametrize("precision", ["fp16", "bf16"], indirect=True)
@pytest.mark.parametrize("name", TRAININGS)
def test_in_one_order_an_interrupted_training_ends_with_the_same_bytes(
    thrice, record_property, name, precision
):
    """Where every operator has one; the others are named, and the training ends near an undisturbed one."""
    try:
        first, second, resumed = thrice(name, precision, "strict")
    except RuntimeError as error:
        found = LACKING.match(str(error))
        if found is None:
            raise
        record_property("strict: stopped by", found[1])
        assert_near(*thrice(name, precision, "warned"))
    else:
        assert second.hashes == first.hashes
        assert resumed.hashes == first.hashes


def assert_near(first: Trained, second: Trained, resumed: Trained) -> None:
    """See to it that an interruption moves the weights no farther than a second training does, by their size."""
    usual = relative(second.weights, first.weights)
    assert relative(resumed.weights, first.weights) <= FACTOR * usual + LEAST


def _compared(one: Trained, other: Trained) -> str:
    if one.hashes == other.hashes:
        return "same bytes"
    return f"weights differ by {relative(other.weights, one.weights):.2g} of their norm"


@pytest.mark.usefixtures("gpu_only")
@pytest.mark.parametrize("name", TRAININGS)
def test_the_gradient_scaler_goes_on_where_it_stopped(create_job, monkeypatch, record_property, name):
    """It counts updates since it last changed, so that one made anew would hold a smaller number."""
    whole = run(create_job, name, "whole", precision="fp16").scaler
    resumed = run_in_two(create_job, monkeypatch, name, "resumed", AFTER, precision="fp16").scaler
    record_property("scale, updates since it changed", f"{whole['scale']:g} {whole['_growth_tracker']}")
    assert resumed == whole


@pytest.mark.usefixtures("gpu_only")
@pytest.mark.parametrize("name", TRAININGS)
def test_fp16_is_what_auto_takes(create_job, name):
    assert run(create_job, name, "auto").scaler["scale"] > 0
