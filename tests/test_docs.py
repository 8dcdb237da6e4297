"""What the documents say can be looked up."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAMED = sorted(set(re.findall(r"(tests/[\w/]+\.py)::(\w+)", (ROOT / "docs/deviations.md").read_text())))


def test_the_deviations_name_tests():
    assert len(NAMED) > 10


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_a_named_test_exists(file, test):
    assert f"def {test}(" in (ROOT / file).read_text()
