"""The parts of the documents that commands write."""

import json
from pathlib import Path

import pytest

from clones import COUNTED
from pacavit import params, published, readme
from pacavit.claims import ledger
from pacavit.pipeline import dvc, records, targets
from pacavit.planning import stage as planning

ROOT = Path(__file__).resolve().parent.parent


def test_it_is_renewed_between_its_marks_and_only_there(tmp_path):
    path = tmp_path / "README.md"
    marks = "<!-- written by `pacavit claims` -->", "<!-- end of what `pacavit claims` writes -->"
    path.write_text(f"# Title\n\n{marks[0]}\nold\n{marks[1]}\n\nEnd.\n")
    assert readme.update("pacavit claims", "new", path)
    assert path.read_text() == f"# Title\n\n{marks[0]}\nnew\n{marks[1]}\n\nEnd.\n"
    assert not readme.update("pacavit claims", "new", path)
    assert not readme.update("pacavit costs", "other", path)


@pytest.mark.parametrize("text", ["# No marks\n", "<!-- written by `pacavit claims` -->\nno end\n"])
def test_one_without_both_marks_is_left_alone(tmp_path, text):
    path = tmp_path / "README.md"
    path.write_text(text)
    assert not readme.update("pacavit claims", "new", path)
    assert path.read_text() == text
    assert not readme.update("pacavit claims", "new", tmp_path / "none.md")


def test_what_stands_in_the_readme_follows_from_the_results_in_the_repository(monkeypatch):
    """`pacavit readme` renews it, after `pacavit complexity`, `pacavit costs` and `pacavit claims`."""
    monkeypatch.chdir(ROOT)
    text = readme.README.read_text()
    assert planning.text(targets.path("costs.costs", "mini")) in text
    claims = published.read(ROOT / "claims/published.csv")
    complexity = json.loads(targets.path("complexity.complexity", "mini").read_text())
    entries = ledger.judge_all(claims, complexity, {}, params.load("mini").claims)
    assert ledger.as_markdown(ledger.summary(entries), "mini") in text


def test_the_drawings_follow_from_the_code():
    """`pacavit readme` renews them. Where imports run in a circle, there is no drawing."""
    text = (ROOT / readme.ARCHITECTURE).read_text()
    for drawing in readme.drawings().values():
        assert drawing in text


def test_the_results_in_the_repository_follow_from_its_parameters_and_its_code(monkeypatch):
    """By what DVC knows: `dvc repro complexity costs`, and a commit of its dvc.lock, bring them up to date."""
    monkeypatch.chdir(ROOT)
    dvc.write_code()
    found = records.Records("mini", params.load("mini"), dvc.Lock("mini", params.load("mini")).outputs)
    for stage in COUNTED:
        assert found.status(stage, {}).state == "fresh", found.status(stage, {}).reason
