"""A final name only ever holds a complete file."""

import errno
import hashlib
import json

import pytest

from pacavit import files
from pacavit.errors import PacavitError


def test_atomic_file_takes_its_name_when_complete(tmp_path):
    target = tmp_path / "folder" / "result.txt"
    with files.atomic_file(target) as temporary:
        temporary.write_text("done")
        assert not target.exists()
    assert target.read_text() == "done"
    assert [path.name for path in target.parent.iterdir()] == ["result.txt"]


def test_atomic_file_leaves_the_old_file_after_an_error(tmp_path):
    target = tmp_path / "result.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), files.atomic_file(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("interrupted")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["result.txt"]


def test_atomic_directory_replaces_the_old_one_only_when_complete(tmp_path):
    target = tmp_path / "prepared"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(RuntimeError), files.atomic_directory(target) as temporary:
        (temporary / "half").touch()
        raise RuntimeError("interrupted")
    assert [path.name for path in target.iterdir()] == ["old"]
    with files.atomic_directory(target) as temporary:
        (temporary / "new").touch()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["prepared"]


def test_an_unwritable_place_is_one_line_that_names_it(tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(PacavitError, match=r"file/result\.txt: cannot be written"):
        files.write_json(blocked / "result.txt", {})


def test_a_full_disk_leaves_nothing_behind(tmp_path):
    target = tmp_path / "result.txt"
    with pytest.raises(PacavitError, match="No space left on device.*free space"), files.atomic_file(target):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_write_json_is_sorted_and_refuses_what_json_cannot_say(tmp_path):
    target = tmp_path / "values.json"
    files.write_json(target, {"b": 1, "a": [1.5, None]})
    assert list(json.loads(target.read_text())) == ["a", "b"]
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(target, {"a": float("nan")})
    assert json.loads(target.read_text())["b"] == 1


def test_content_hash_of_a_folder_is_that_of_its_manifest(tmp_path):
    (tmp_path / files.MANIFEST).write_text("{}")
    assert files.content_hash(tmp_path) == hashlib.sha256(b"{}").hexdigest()
    (tmp_path / files.MANIFEST).unlink()
    with pytest.raises(PacavitError, match="not a prepared data set"):
        files.content_hash(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\0\0", b"\xff\xfe", b'"text"', None])
def test_a_file_that_holds_no_object_reads_as_an_empty_one(tmp_path, content):
    path = tmp_path / "file.json"
    if content is not None:
        path.write_bytes(content)
    assert files.json_object(path) == {}
    files.write_json(path, {"key": "é"})
    assert files.json_object(path) == {"key": "é"}
