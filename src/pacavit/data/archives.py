"""Reading archives without trusting them, and writing them so that the same input gives the same bytes."""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pacavit.errors import PacavitError
from pacavit.files import atomic_file
from pacavit.job import Job

#: More than this many bytes out of one byte in is a bomb, not data.
_MAX_RATIO = 200
_GIGABYTE = 1 << 30
#: In an archive packed from a folder: the file of the user's that each packed one was.
SOURCES = "sources.jsonl"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
#: Largest file of an archive that is read into memory.
_MAX_SMALL = 64 << 20


def add_to_tar(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Append a file to a tar archive, without the time, owner and mode of this machine."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def add_to_zip(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Append a file to a zip archive, likewise; pictures are stored, texts compressed."""
    member = zipfile.ZipInfo(name)
    member.external_attr = (stat.S_IFREG | 0o644) << 16
    picture = name.endswith((".jpg", ".png"))
    member.compress_type = zipfile.ZIP_STORED if picture else zipfile.ZIP_DEFLATED
    archive.writestr(member, content)


@contextmanager
def new_tar(path: Path, compressed: bool = False) -> Iterator[tarfile.TarFile]:
    """Write a tar archive that takes its name when complete."""
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        if not compressed:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
                yield archive
            return
        with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
            with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
                yield archive


@contextmanager
def new_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Write a zip archive that takes its name when complete."""
    with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        yield archive


@contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """Turn what a damaged archive, or one that cannot be opened, raises into one line that names it."""
    damaged = (tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, EOFError)
    try:
        yield
    except damaged as error:
        raise PacavitError(f"{path}: truncated or corrupt archive ({error}); {remedy}") from error
    except PermissionError as error:
        if error.filename != str(path):
            raise
        raise PacavitError(f"{path}: cannot be read ({error.strerror}); mend its rights") from error


@dataclass(frozen=True)
class TarMember:
    """A regular file inside a tar archive that is not compressed.

    Attributes:
        name: below the archive's folder.
        offset: of its content in the file that was scanned, bytes.
        size: bytes.
    """

    name: str
    offset: int
    size: int


def scan_tar(path: Path, offset: int = 0, size: int | None = None) -> list[TarMember]:
    """Return the files of a tar archive, which may stand inside another file, reading its headers alone.

    Args:
        path: file that holds the archive.
        offset: where it begins in that file, bytes.
        size: its length, bytes; to the end of the file without one.

    Raises:
        PacavitError: a member is a link, a device or sparse, stands twice, or its name leads out of the archive.
        tarfile.TarError: the archive is damaged or ends too early.
    """
    found: dict[str, TarMember] = {}
    with open(path, "rb") as file:
        length = os.fstat(file.fileno()).st_size - offset if size is None else size
        with tarfile.open(fileobj=_Window(file, offset, length), mode="r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                name = _plain_file(member, str(path))
                if member.size > length - member.offset_data:
                    raise tarfile.ReadError(f"{name} ends behind the archive")
                if name in found:
                    raise PacavitError(f"{path}: {name} stands twice in it; such archives are refused")
                found[name] = TarMember(name, offset + member.offset_data, member.size)
                archive.members.clear()  # tarfile would keep every header
    return list(found.values())


def tar_files(archive: tarfile.TarFile, without: str = "") -> Iterator[tuple[str, bytes]]:
    """Give name and content of each regular file of a small tar archive.

    Args:
        archive: open for reading.
        without: name of a file to pass over, which may be larger than others.

    Raises:
        PacavitError: a member is a link or a device, too large, or its name leads out of the archive.
        tarfile.TarError: the archive ends too early.
    """
    for member in archive:
        if member.isdir():
            continue
        name = _plain_file(member, str(archive.name))
        if member.size > (_GIGABYTE if name == without else _MAX_SMALL):
            raise PacavitError(f"{archive.name}: {name} unpacks to {member.size} bytes; refused as a bomb")
        if name == without:
            continue
        content = archive.extractfile(member).read()
        if len(content) != member.size:
            raise tarfile.ReadError("unexpected end of data")
        yield name, content


def sources_text(files: Mapping[str, Path]) -> bytes:
    """Return the text of :data:`SOURCES`: a JSON list of a packed file's name and the user's file a line."""
    return "".join(json.dumps([name, str(path)]) + "\n" for name, path in files.items()).encode()


def user_files(archive: Path, packed: Collection[str]) -> dict[str, str]:
    """Return which files of the user's some packed ones are, by name; empty for archives from elsewhere.

    Args:
        archive: zip or tar that may hold :data:`SOURCES`.
        packed: names without folders.
    """
    found = {}
    with ExitStack() as opened:
        if zipfile.is_zipfile(archive):
            source = opened.enter_context(zipfile.ZipFile(archive))
            lines = opened.enter_context(source.open(SOURCES)) if SOURCES in source.namelist() else ()
        else:
            source = opened.enter_context(tarfile.open(archive))
            member = next((each for each in source if each.name == SOURCES), None)
            lines = source.extractfile(member) if member else ()
        for line in lines:
            name, path = json.loads(line)
            if name in packed:
                found[name] = path
    return found


def list_zip(path: Path, max_gigabytes: int, keep: str = "") -> list[str]:
    """Return the names of the files of a zip archive that start with ``keep``, in its order, after the checks.

    Raises:
        PacavitError: a name leads out of the archive or stands twice, a member is a link, encrypted or compressed by an
            unknown method, or the content is too large.
        zipfile.BadZipFile: the archive is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if not m.is_dir() and m.filename.startswith(keep)]
    _refuse_bombs(path, members, max_gigabytes)
    names: set[str] = set()
    for member in members:
        if stat.S_ISLNK(member.external_attr >> 16):
            raise PacavitError(f"{path}: {member.filename} is a link; such archives are refused")
        if member.flag_bits & 1:
            raise PacavitError(
                f"{path}: {member.filename} is encrypted; fetch or make it again without a password"
            )
        if member.compress_type not in _METHODS:
            raise PacavitError(
                f"{path}: {member.filename} is compressed in a way that Python cannot read (method "
                f"{member.compress_type}{', Deflate64' * (member.compress_type == 9)}); unpack it and make the archive "
                "anew, with `zip -r`"
            )
        if safe_name(member.filename, str(path)) in names:
            raise PacavitError(f"{path}: {member.filename} stands twice in it; such archives are refused")
        names.add(member.filename)
    return [member.filename for member in members]


def safe_name(name: str, archive: str) -> str:
    """Return a member's name if it is UTF-8 and stays below the folder it is unpacked in.

    Raises:
        PacavitError: it does not.
    """
    path = PurePosixPath(name)
    if not name.isascii() and name != name.encode(errors="ignore").decode():
        raise PacavitError(f"{archive}: member {name!r} is not named in UTF-8; such archives are refused")
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise PacavitError(f"{archive}: member {name!r} leads out of its folder; such archives are refused")
    return str(path)


def remedy(job: Job) -> str:
    """Return what to do about a damaged archive of this job."""
    dataset = job.stage.removeprefix("prepare_")
    archives = getattr(job.params.data, dataset).archives
    made = archives.kind in ("digits", "folder")
    return f"run `pacavit archives {dataset}`" if made else "fetch it again"


class _Window:
    """A part of an open file as a file of its own, for reading."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self._file, self._offset, self._size, self._at = file, offset, size, 0

    def tell(self) -> int:
        return self._at

    def seek(self, to: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = start + to
        return self._at

    def read(self, count: int = -1) -> bytes:
        left = max(0, self._size - self._at)
        self._file.seek(self._offset + self._at)
        content = self._file.read(left if count < 0 else min(count, left))
        self._at += len(content)
        return content


def _plain_file(member: tarfile.TarInfo, archive: str) -> str:
    if not member.isreg() or member.issparse():
        raise PacavitError(
            f"{archive}: {member.name} is a link or a device, or sparse; such archives are refused"
        )
    return safe_name(member.name, archive)


def _refuse_bombs(path: Path, members: Iterable[zipfile.ZipInfo], max_gigabytes: int) -> None:
    total = 0
    for member in members:
        total += member.file_size
        if member.file_size > _MAX_RATIO * max(member.compress_size, 1 << 20):
            raise PacavitError(
                f"{path}: {member.filename} unpacks to {member.file_size} bytes; refused as a bomb"
            )
    if total > max_gigabytes * _GIGABYTE:
        raise PacavitError(
            f"{path}: unpacks to {total / _GIGABYTE:.1f} GiB, more than prepare.max_gigabytes = {max_gigabytes}"
        )
