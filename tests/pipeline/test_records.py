"""Records that a crash has left: they say nothing, and stop nothing."""

import pytest

from pacavit.pipeline import records
from pacavit.pipeline.records import Made

MADE = Made("claims", "mini", {}, {"key": 1}, "code", {"input": "hash"})


@pytest.fixture(autouse=True)
def _project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_record_says_what_was_made():
    records.save(MADE, {"out": "hash"})
    assert records.load(MADE) == {"out": "hash"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"{}",
        b"[]",
        b"null",
        b"3",
        b'"text"',
        b"\0\0",
        b"\xff",
        b'{"outputs": {}}',
        b'{"outputs": []}',
    ],
)
def test_a_damaged_record_is_none(content):
    records.save(MADE, {"out": "hash"})
    MADE.path.write_bytes(content)
    assert records.load(MADE) is None
    assert records._difference(MADE) == "it has not run yet"


def test_what_differs_from_the_last_time_is_told():
    records.save(MADE, {"out": "hash"})
    other = Made("claims", "mini", {}, {"key": 2}, "other", {"input": "hash"})
    assert records._difference(other) == "its code has changed; key has changed"
