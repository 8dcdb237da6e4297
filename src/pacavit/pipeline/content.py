"""What files and folders hold, by DVC's own hashes, each read once as long as it does not change.

A file's hash is the MD5 of its bytes; a folder's is the MD5 of DVC's list of its files, with ``.dir`` behind it
(``dvc_data``'s ``Tree``), so that a hash here is a name in DVC's cache and in ``dvc.lock``.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from pacavit.files import MANIFEST

#: Remembers hashes; it may be removed at any time.
DATABASE = Path("work/hashes.sqlite")

# As .dvcignore names them.
_IGNORED_NAMES = {".snakemake_timestamp", "__pycache__"}
_IGNORED_SUFFIXES = {".pyc"}


def digest(path: Path) -> str | None:
    """Return the hash of a file or folder, None if there is none.

    A file whose size and time of change are as before is not read again, nor is a prepared folder whose manifest is.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    return hashes_of([path]).get(path)


def _folder(path: Path) -> str:
    manifest = path / MANIFEST
    signatures = {path: _signature(manifest)} if manifest.is_file() else {}
    if remembered := known(signatures):
        return remembered[path]
    listed = listing(path, hashes_of(list(_files(path))))
    found = hashlib.md5(listed, usedforsecurity=False).hexdigest() + ".dir"
    remember(signatures, dict.fromkeys(signatures, found))
    return found


def hashes_of(paths: list[Path]) -> dict[Path, str]:
    """Return the hashes of files, but for those that are gone by now, such as links that lead nowhere."""
    signatures = {file: signature for file in paths if (signature := _signature(file)) is not None}
    before = known(signatures)
    fresh = {file: md5 for file in signatures if file not in before and (md5 := _md5(file)) is not None}
    remember(signatures, fresh)
    return before | fresh


def listing(folder: Path, hashes: dict[Path, str]) -> bytes:
    """Return DVC's list of a folder's files: what its cache holds under the folder's hash."""
    entries = [{"md5": hashes[file], "relpath": file.relative_to(folder).as_posix()} for file in hashes]
    return json.dumps(sorted(entries, key=lambda entry: entry["relpath"]), sort_keys=True).encode()


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name not in _IGNORED_NAMES]
        for name in names:
            if name not in _IGNORED_NAMES and Path(name).suffix not in _IGNORED_SUFFIXES:
                yield Path(parent, name)


def _signature(file: Path) -> str | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return f"{status.st_size}-{status.st_mtime_ns}"


def _md5(file: Path) -> str | None:
    try:
        with open(file, "rb") as opened:
            return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except FileNotFoundError:
        return None


def known(files: dict[Path, str]) -> dict[Path, str]:
    """Return the hashes of files whose signatures are as they were when they were remembered."""
    found: dict[str, tuple[str, str]] = {}
    # A file system without locks, or a torn file, costs time and nothing else.
    with suppress(sqlite3.Error, OSError, UnicodeError), closing(_open()) as database:
        query = "select path, signature, md5 from hashes where path in (select value from json_each(?))"
        rows = database.execute(query, (json.dumps([str(file) for file in files]),))
        found = {path: (signature, md5) for path, signature, md5 in rows}
    return {file: found[str(file)][1] for file in files if found.get(str(file), ("",))[0] == files[file]}


def remember(files: dict[Path, str], hashes: dict[Path, str]) -> None:
    """Keep the hashes of files for their present signatures."""
    if not hashes:
        return
    with suppress(sqlite3.Error, OSError, UnicodeError), closing(_open()) as database, database:
        rows = [(str(file), files[file], md5) for file, md5 in hashes.items()]
        database.executemany("insert or replace into hashes values (?, ?, ?)", rows)


def _open() -> sqlite3.Connection:
    DATABASE.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(DATABASE, timeout=10)
    database.execute("create table if not exists hashes (path text primary key, signature text, md5 text)")
    return database
