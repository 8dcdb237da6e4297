"""What the documents say can be looked up."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("deviations", "own-data", "reliability", "security")
NAMED = sorted(
    {
        named
        for document in DOCUMENTS
        for named in re.findall(r"(tests/[\w/]+\.py)::(\w+)", (ROOT / f"docs/{document}.md").read_text())
    }
)


def test_the_documents_name_tests():
    assert len(NAMED) > 40


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_a_named_test_exists(file, test):
    assert f"def {test}(" in (ROOT / file).read_text()


def test_the_readme_names_every_environment_variable():
    named = {
        variable
        for path in (ROOT / "src/pacavit").rglob("*.py")
        for variable in re.findall(r'^[A-Z]+ = "(PACAVIT_\w+)"', path.read_text(), re.M)
    }
    text = (ROOT / "README.md").read_text()
    assert named
    assert not {variable for variable in named if variable not in text}
