"""Writing files so that a final name only ever holds a complete file, and hashing them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pacavit.errors import PacavitError

MANIFEST = "manifest.json"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and move it there when the block ends without an error.

    The file is flushed to disk before it takes its final name; after an error nothing is left behind.

    Raises:
        PacavitError: the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        _sync(temporary)
        temporary.chmod(0o666 & ~_UMASK)
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise _explained(error, path) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` and move it there when the block ends without an error.

    An older folder of that name is replaced only then.

    Raises:
        PacavitError: the parent folder cannot be written, or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        temporary.chmod(0o777 & ~_UMASK)
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise _explained(error, path) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def resumable_directory(path: Path, key: str) -> Iterator[Path]:
    """Yield a hidden folder beside ``path`` that a killed attempt with the same key left, or a new one.

    It takes the name ``path`` when the block ends without an error; an older folder of that name is replaced only then.
    What attempts with other keys left is removed, and so is this one's after bad input.

    Raises:
        PacavitError: the parent folder cannot be written, or the disk is full.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{key}.partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        for other in path.parent.glob(f".{path.name}.*.partial"):
            if other != partial:
                shutil.rmtree(other)
        yield partial
        if path.exists():
            shutil.rmtree(path)
        os.replace(partial, path)
        _sync(path.parent)
    except PacavitError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    except OSError as error:
        raise _explained(error, path) from error


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys, atomically."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"
    with atomic_file(path) as temporary:
        temporary.write_text(text)


def json_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; an empty one if there is no such file, or a crash has spoiled it."""
    try:
        value = json.loads(Path(path).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def content_hash(path: Path) -> str:
    """Return the SHA-256 that stands for an input: of the file, or of the manifest of a prepared folder.

    Raises:
        PacavitError: a folder without a manifest.
    """
    path = Path(path)
    if not path.is_dir():
        return sha256(path)
    manifest = path / MANIFEST
    if not manifest.is_file():
        raise PacavitError(
            f"{path}: no {MANIFEST} in it, so it is not a prepared data set; run `pacavit prepare`"
        )
    return sha256(manifest)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# Read once: it can be read by setting it alone, which all threads of the process would notice.
_UMASK = os.umask(0)
os.umask(_UMASK)


def _explained(error: OSError, path: Path) -> Exception:
    """Turn what the disk refuses into one line; leave a missing input, which is another matter, as it is."""
    if isinstance(error, FileNotFoundError):
        return error
    reason = error.strerror or str(error)
    return PacavitError(
        f"{path}: cannot be written ({reason}); free space or choose a folder you may write to"
    )
