"""What the documents say can be looked up."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("deviations", "reliability", "security")
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
