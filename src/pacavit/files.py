"""Writing files so that a final name only ever holds a complete file, and hashing them."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pacavit.errors import PacavitError

MANIFEST = "manifest.json"
#: In the names of files and folders that are being written.
_TEMPORARY = ".tmp"
_OF_SYSTEMS = frozenset({"__MACOSX", "@eaDir", "__pycache__", "lost+found"})


class DiskError(PacavitError):
    """The disk refuses to read or write something, which is no fault of the input."""


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and move it there when the block ends without an error.

    The file is flushed to disk before it takes its final name; after an error nothing is left behind. What a killed
    process left is removed.

    Raises:
        PacavitError: the folder cannot be written, the disk is full, or a file that is read meanwhile cannot be.
    """
    path = Path(path)
    with writing(path), _held(_new_file, f"{_TEMPORARY}{path.suffix}", path) as temporary:
        try:
            yield temporary
            _sync(temporary)
            temporary.chmod(0o666 & ~_UMASK)
            os.replace(temporary, path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` and move it there when the block ends without an error.

    An older folder of that name is replaced only then. What a killed process left is removed.

    Raises:
        PacavitError: the parent folder cannot be written, the disk is full, a file that is read meanwhile cannot be, or
            ``path`` holds what is not to be replaced, as of :func:`require_replaceable`.
    """
    require_replaceable(path)
    with scratch_directory(path) as temporary:
        temporary.chmod(0o777 & ~_UMASK)
        yield temporary
        _replace(Path(path), temporary)


@contextmanager
def scratch_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` that is removed at the end. What a killed process left is removed too.

    Raises:
        PacavitError: the parent folder cannot be written, the disk is full, or a file that is read meanwhile cannot be.
    """
    path = Path(path)
    with writing(path), _held(tempfile.mkdtemp, _TEMPORARY, path) as temporary:
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def resumable_directory(path: Path, key: str) -> Iterator[Path]:
    """Yield a hidden folder beside ``path`` that a killed attempt with the same key left, or a new one.

    It takes the name ``path`` when the block ends without an error; an older folder of that name is replaced only then.
    What attempts with other keys left is removed, and so is this one's after bad input.

    Raises:
        PacavitError: as of :func:`atomic_directory`.
    """
    path = Path(path)
    require_replaceable(path)
    partial = path.with_name(f".{path.name}.{key}.partial")
    with writing(path):
        partial.mkdir(parents=True, exist_ok=True)
        for other in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
            if other != partial:
                shutil.rmtree(other)
        try:
            yield partial
            _replace(path, partial)
        except DiskError:
            raise
        except PacavitError:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes left beside ``path`` of :func:`atomic_file` and :func:`scratch_directory`.

    The system releases a process's locks when it ends, in whatever way.
    """
    path = Path(path)
    for suffix in {path.suffix, ""}:
        for left in path.parent.glob(f".{glob.escape(path.name)}.*{_TEMPORARY}{glob.escape(suffix)}"):
            _remove_unless_held(left)


def require_replaceable(path: Path) -> None:
    """Refuse to replace a folder that the pipeline has not written.

    Raises:
        PacavitError: ``path`` is a link, a file, or a folder that holds something but no manifest.
    """
    path = Path(path)
    if path.is_symlink():
        raise PacavitError(f"{path}: is a link, and what it leads to would be replaced; remove the link")
    if path.exists() and not path.is_dir():
        raise PacavitError(f"{path}: is a file where a folder is to be written; move it away")
    if path.is_dir() and not (path / MANIFEST).is_file() and any(path.iterdir()):
        raise PacavitError(
            f"{path}: would be replaced, and holds files that this project has not written (no {MANIFEST} in it); "
            "move them away"
        )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses while ``path`` is written into one line that names it, or the file that was read.

    A missing file that is read is another matter and stays as it is.

    Raises:
        DiskError: the disk refuses something.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else None
        if name is not None and not _is_written(Path(name), Path(path)):
            raise _unreadable(name, error) from error
        raise DiskError(
            f"{path}: cannot be written ({error.strerror or error}); free space or choose a folder you may write to"
        ) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the disk refuses while ``path`` is read into one line that names it.

    Raises:
        DiskError: the disk refuses something.
    """
    try:
        yield
    except OSError as error:
        raise _unreadable(path, error) from error


def read_source(path: Path) -> bytes:
    """Return the content of a file of the user's.

    Raises:
        DiskError: it cannot be read.
    """
    with reading(path):
        return Path(path).read_bytes()


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is hidden, or one that systems put among the user's."""
    return name.startswith(".") or name in _OF_SYSTEMS


def printable(name: Path | str) -> str:
    """Return a file's name as it can be printed: bytes that are not UTF-8, and controls, as escapes."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in str(name))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys, atomically."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"
    with atomic_file(path) as temporary:
        temporary.write_text(text)


def listed(names: Sequence[Path | str], most: int = 20, separator: str = ", ", last: str = " and ") -> str:
    """Return the first names in one line, and how many others there are."""
    more = len(names) - most
    shown = separator.join(printable(name) for name in names[:most])
    return f"{shown}{last}{more:,} more" if more > 0 else shown


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


def _is_written(file: Path, path: Path) -> bool:
    """Return whether a file is ``path``, what stands for it while it is written, or a folder that holds it."""
    file, path = Path(os.path.abspath(file)), Path(os.path.abspath(path))
    if file in (path, *path.parents):
        return True
    if not file.is_relative_to(path.parent):
        return False
    first = file.parts[len(path.parent.parts)]
    return first == path.name or first.startswith(f".{path.name}.")


def _unreadable(path: Path | str, error: OSError) -> DiskError:
    reason = error.strerror or str(error)
    return DiskError(f"{printable(path)}: cannot be read ({reason}); mend the path, its rights or the disk")


@contextmanager
def _held(create: Callable[[str, str, Path], str], suffix: str, path: Path) -> Iterator[Path]:
    """Create a temporary file or folder beside ``path``, and hold its lock, by which others know that it is in use.

    What a killed process left is removed first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    while True:
        temporary = Path(create(suffix, f".{path.name}.", path.parent))
        handle = os.open(temporary, os.O_RDONLY)
        # Some network file systems have no locks; what is left on them stays.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)
        if temporary.exists():
            break
        os.close(handle)  # another process took it for a leftover before it was locked
    try:
        yield temporary
    finally:
        os.close(handle)


def _new_file(suffix: str, prefix: str, folder: Path) -> str:
    handle, name = tempfile.mkstemp(suffix, prefix, folder)
    os.close(handle)
    return name


def _remove_unless_held(path: Path) -> None:
    with suppress(OSError):  # it is held, or its process has just ended
        handle = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        finally:
            os.close(handle)


def _replace(path: Path, temporary: Path) -> None:
    """Move a folder to its final name, in place of an older one."""
    require_replaceable(path)  # again: the work may have taken hours
    if path.exists():
        shutil.rmtree(path)
    os.replace(temporary, path)
    _sync(path.parent)
