"""A final name only ever holds a complete file."""

import errno
import hashlib
import json
import subprocess
import sys

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
    (target / files.MANIFEST).touch()
    with pytest.raises(RuntimeError), files.atomic_directory(target) as temporary:
        (temporary / "half").touch()
        raise RuntimeError("interrupted")
    assert [path.name for path in target.iterdir()] == [files.MANIFEST]
    with files.atomic_directory(target) as temporary:
        (temporary / "new").touch()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["prepared"]


def resumable(path):
    return files.resumable_directory(path, "key")


@pytest.mark.parametrize("directory", [files.atomic_directory, resumable])
@pytest.mark.parametrize("kind", ["link", "folder", "file"])
def test_what_others_wrote_is_not_replaced(tmp_path, directory, kind):
    photos, target = tmp_path / "photos", tmp_path / "prepared"
    photos.mkdir()
    (photos / "cat.jpg").touch()
    (photos / files.MANIFEST).touch()
    if kind == "link":
        target.symlink_to(photos)
    elif kind == "folder":
        target.mkdir()
        (target / "cat.jpg").touch()
    else:
        target.touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        PacavitError, match=r"prepared: (is a link|would be replaced, and holds files|is a file)"
    ):
        with directory(target):
            pytest.fail("nothing is to be computed in vain")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("directory", [files.atomic_directory, resumable])
def test_an_empty_folder_is_replaced(tmp_path, directory):
    (tmp_path / "prepared").mkdir()
    with directory(tmp_path / "prepared") as folder:
        (folder / "new").touch()
    assert [path.name for path in (tmp_path / "prepared").iterdir()] == ["new"]


KILLED = """
import os, signal, sys
from pathlib import Path
from pacavit import files
with getattr(files, sys.argv[1])(Path(sys.argv[2])) as temporary:
    (temporary if temporary.is_file() else temporary / "half").write_text("half")
    os.kill(os.getpid(), getattr(signal, sys.argv[3]))
"""


@pytest.mark.parametrize("kind", ["atomic_file", "atomic_directory", "scratch_directory"])
@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("name", ["train [1].tar", "train"])
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, kind, signal, name):
    target = tmp_path / name
    subprocess.run([sys.executable, "-c", KILLED, kind, target, signal], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    with getattr(files, kind)(target):
        pass
    assert list(tmp_path.iterdir()) == ([] if kind == "scratch_directory" else [target])


def test_what_is_done_outlives_a_disk_that_fails_but_not_bad_input(tmp_path):
    for error, kept in ((OSError(errno.EIO, "Input/output error"), True), (PacavitError("bad input"), False)):
        with pytest.raises(PacavitError), resumable(tmp_path / "data") as folder:
            with files.reading(tmp_path / "archive.tar"):
                raise error
        assert folder.exists() == kept


def test_what_another_process_is_writing_is_left_alone(tmp_path):
    target = tmp_path / "result.txt"
    with files.atomic_file(target) as first, files.atomic_file(target) as second:
        files.remove_leftovers(target)
        assert first.exists()
        assert second.exists()
    assert list(tmp_path.iterdir()) == [target]


def test_downloads_and_partial_folders_are_no_leftovers(tmp_path):
    kept = [
        tmp_path / ".train.tar.part",
        tmp_path / ".train.tar.key.partial",
        tmp_path / ".other.tar.x.tmp.tar",
    ]
    for path in kept:
        path.touch()
    files.remove_leftovers(tmp_path / "train.tar")
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_source_that_cannot_be_read_is_no_output_that_cannot_be_written(tmp_path):
    source = tmp_path / "a.jpg"
    with pytest.raises(PacavitError, match=r"a\.jpg: cannot be read \(Permission denied\)"):
        with files.atomic_file(tmp_path / "a.tar"):
            raise PermissionError(errno.EACCES, "Permission denied", str(source))
    with pytest.raises(PacavitError, match=r"a\.tar: cannot be written \(Permission denied\)"):
        with files.atomic_file(tmp_path / "a.tar") as temporary:
            raise PermissionError(errno.EACCES, "Permission denied", str(temporary))
    for wrong in (tmp_path, tmp_path / "missing.jpg"):
        with pytest.raises(PacavitError, match=rf"{wrong.name}: cannot be read"):
            files.read_source(wrong)


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
