"""The data file of published numbers, and what it refuses."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from pacavit import paths
from pacavit.claims.baselines import BASELINES
from pacavit.claims.statements import LINEAR, STATEMENTS
from pacavit.errors import PacavitError
from pacavit.models import variant_names
from pacavit.published import read

FILE = Path(__file__).resolve().parents[1] / paths.PUBLISHED


@pytest.fixture(scope="module")
def claims():
    return read(FILE)


def test_all_published_numbers_are_there(claims):
    assert len(claims) == 364
    kinds = Counter(claim.id.split(".")[0] for claim in claims)
    assert kinds == {"base": 173, "coco": 96, "ade20k": 45, "imagenet": 36, "claim": 8, "secondary": 6}


def test_every_number_is_of_a_model_that_can_be_built(claims):
    for claim in claims:
        assert claim.metric == "statement" or claim.variant in {*variant_names(), *BASELINES}


def test_every_statement_can_be_judged(claims):
    assert {c.id for c in claims if c.metric == "statement"} == {*STATEMENTS, LINEAR}


@pytest.mark.parametrize(("printed", "unit"), [("83.08", 0.01), ("12.2", 0.1), ("252", 1)])
def test_the_digits_tell_the_precision(claims, printed, unit):
    claim = next(claim for claim in claims if claim.value == printed)
    assert claim.last_place == pytest.approx(unit)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("value", "8o.9", r"line 2 .*'8o\.9' is no number"),
        ("value", "-1", "not above 0"),
        ("value", "", r"line 2 \(imagenet\.main\.1\.top1\): value: "),
        ("metric", "top2", r"metric: .*found 'top2'"),
        ("variant", "", "a number belongs to a model"),
        ("head", "paca", "head stands with ade20k"),
        ("input", "224x224", "input stands with multiply_adds"),
        ("unit", "percent", "unit: "),
    ],
)
def test_a_broken_line_is_named(tmp_path, column, value, message):
    path = edited(tmp_path, lambda lines: lines[0].update({column: value}))
    with pytest.raises(PacavitError, match=message):
        read(path)


def test_an_id_stands_once(tmp_path):
    path = edited(tmp_path, lambda lines: lines[1].update(id=lines[0]["id"]))
    with pytest.raises(PacavitError, match=r"line 3: id 'imagenet\.main\.1\.top1' stands twice"):
        read(path)


def test_a_missing_or_empty_file_says_how_to_restore_it(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path / "empty.csv"):
        if path.stem == "empty":
            path.write_text("")
        with pytest.raises(PacavitError, match="restore it with `git checkout"):
            read(path)


def test_a_missing_column_is_named(tmp_path):
    path = edited(tmp_path, lambda lines: lines[0].update({"source": None}))
    text = path.read_text().replace(",source,", ",origin,", 1)
    path.write_text(text)
    with pytest.raises(PacavitError, match="source"):
        read(path)


def edited(folder: Path, edit) -> Path:
    with open(FILE, newline="") as file:
        lines = list(csv.DictReader(file))
    edit(lines)
    path = folder / "published.csv"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    return path
