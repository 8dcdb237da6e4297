"""Hashes of files and folders are DVC's own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pacavit.pipeline import content


@pytest.fixture
def folder(project):
    for name, text in (
        ("a/b.txt", "one"),
        ("a-b.txt", "two"),
        ("ä.txt", "three"),
        ("a/.snakemake_timestamp", ""),
    ):
        path = project / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Path("folder")


@pytest.mark.slow
def test_a_folder_and_a_file_have_the_hashes_that_dvc_gives_them(folder):
    Path(".dvcignore").write_text(".snakemake_timestamp\n")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "add", "--quiet", "folder"], check=True)
    (entry,) = YAML(typ="safe").load(Path("folder.dvc"))["outs"]
    assert content.digest(folder) == entry["md5"]
    (listed,) = Path(".dvc/cache/files/md5").glob("*/*.dir")
    hashes = {path: content.digest(path) for path in folder.rglob("*.txt")}
    assert json.loads(content.listing(folder, hashes)) == json.loads(listed.read_text())


def test_what_is_not_there_has_none(project):
    assert content.digest(Path("nothing")) is None


def test_a_link_that_leads_nowhere_is_as_a_file_that_is_gone(folder):
    whole = content.digest(folder)
    (folder / "link.txt").symlink_to("nowhere.txt")
    assert content.digest(folder) == whole
    assert content.digest(folder / "link.txt") is None


def test_a_file_is_read_once_as_long_as_it_does_not_change(project, monkeypatch):
    read = []
    md5 = content._md5
    monkeypatch.setattr(content, "_md5", lambda file: read.append(file) or md5(file))
    path = Path("file.txt")
    path.write_text("one")
    first = content.digest(path)
    assert content.digest(path) == first
    assert read == [path]
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    assert content.digest(path) != first
    assert len(read) == 2


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"torn"), lambda path: path.unlink()])
def test_what_it_remembers_may_be_lost(project, damage):
    path = Path("file.txt")
    path.write_text("one")
    before = content.digest(path)
    damage(content.DATABASE)
    assert content.digest(path) == before


def test_a_prepared_folder_goes_by_its_manifest(folder, monkeypatch):
    (folder / "manifest.json").write_text("{}")
    before = content.digest(folder)
    monkeypatch.setattr(content, "_files", lambda path: pytest.fail("looked into it again"))
    assert content.digest(folder) == before


def test_a_changed_file_of_another_folder_is_seen(folder):
    before = content.digest(folder)
    (folder / "a-b.txt").write_text("another")
    assert content.digest(folder) != before
