"""Names that users give things, in MLflow: each has one, no two the same, and MLflow takes all."""

import pytest
from mlflow.utils.validation import _validate_metric_name, _validate_param, _validate_tag

from pacavit.tracking.keys import LONGEST_KEY, keys, text

#: What people call their classes, or what gets into a file of them by mistake.
NAMES = [
    "potter's wheel",
    "tench, Tinca tinca",
    "$100 bill",
    'a "quoted" one',
    "door; wooden",
    "car/truck",
    "a//b",
    "/root",
    "end/",
    "../up",
    "..up",
    "./here",
    ".",
    "..",
    "",
    " ",
    "a\nb",
    "ends\n",
    "tab\there",
    "line\u2028separator",
    "nul\0",
    "50 % off?",
    "c#",
    "a:b",
    "a|b\\c",
    "<b>&amp;",
    "{scale}",
    "x@y",
    "\N{DOG FACE}",
    "lone \udce4",
    "x" * 300,
    "," * 300,
    "/" * 300,
]
#: Names that MLflow takes as they are.
PLAIN = [
    "train/loss",
    "per_class/n01440764/top1",
    "AP 50",
    "Straße",
    "椅子",
    "стул",
    "a-b_c.d",
    "x" * LONGEST_KEY,
]


@pytest.mark.parametrize("name", NAMES + PLAIN)
@pytest.mark.parametrize("form", ["{}", "per_class/{}/IoU", "val/{}"])
def test_mlflow_takes_every_name(name, form):
    (key,) = keys([form.format(name)]).values()
    _validate_metric_name(key)
    assert 0 < len(key) <= LONGEST_KEY
    _validate_param(key, "1")
    _validate_tag(key, "1")


@pytest.mark.parametrize("name", PLAIN)
def test_a_name_that_mlflow_takes_is_left_as_it_is(name):
    assert keys([name]) == {name: name}


def test_no_two_names_become_one():
    names = [*NAMES, *PLAIN, *(name + "!" for name in NAMES), *(name + "?" for name in NAMES)]
    assert len(set(keys(names).values())) == len(set(names))


def test_more_names_change_none_of_those_before():
    first = keys(["a,b", "a;b"])
    assert first == {"a,b": "a_b", "a;b": first["a;b"]}
    assert keys(["a,b", "a;b", "a_b", "a,b"]).items() > first.items()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        (0.1, "0.1"),
        ("lone \udce4", "lone ?"),
        ("nul\0", "nul?"),
        ("12345678", "12345678"),
    ],
)
def test_values_become_text_that_a_database_takes(value, expected):
    assert text(value, 8) == expected


def test_a_cut_value_shows_that_it_was_cut():
    assert text("123456789", 8) == "1234567…"
