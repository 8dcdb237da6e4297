"""Reading archives without trusting them, and writing them so that the same input gives the same bytes."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from PIL import Image
from tqdm import tqdm

from pacavit.errors import PacavitError
from pacavit.files import atomic_file
from pacavit.stages import Job

#: More than this many bytes out of one byte in is a bomb, not data.
_MAX_RATIO = 200
_GIGABYTE = 1 << 30


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
    """Turn what a damaged archive raises into one line that names it and says what to do."""
    damaged = (tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, EOFError)
    try:
        yield
    except damaged as error:
        raise PacavitError(f"{path}: truncated or corrupt archive ({error}); {remedy}") from error


def tar_files(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    """Give name and content of each regular file of a tar archive.

    Raises:
        PacavitError: a member is a link or a device, or its name leads out of the archive.
        tarfile.TarError: the archive ends too early.
    """
    for member in archive:
        if member.isdir():
            continue
        if not member.isreg():
            raise PacavitError(
                f"{archive.name}: {member.name} is a link or a device; such archives are refused"
            )
        content = archive.extractfile(member).read()
        if len(content) != member.size:
            raise tarfile.ReadError("unexpected end of data")
        yield safe_name(member.name, str(archive.name)), content


def extract_zip(path: Path, folder: Path, max_gigabytes: int, keep: str = "", strip: str = "") -> list[Path]:
    """Unpack the files of a zip archive whose names start with ``keep`` below ``folder``, without ``strip``.

    Returns:
        The relative paths of the files, in the archive's order.

    Raises:
        PacavitError: a name leads out of the folder, a member is a link, or the content is too large.
        zipfile.BadZipFile: the archive is damaged.
    """
    written = []
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if not m.is_dir() and m.filename.startswith(keep)]
        _refuse_bombs(path, members, max_gigabytes)
        for member in tqdm(members, desc=f"unpack {path.name}", unit="file", disable=None):
            if stat.S_ISLNK(member.external_attr >> 16):
                raise PacavitError(f"{path}: {member.filename} is a link; such archives are refused")
            relative = Path(safe_name(member.filename, str(path)).removeprefix(strip))
            target = folder / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, open(target, "wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
            written.append(relative)
    return written


def safe_name(name: str, archive: str) -> str:
    """Return a member's name if it stays below the folder it is unpacked in.

    Raises:
        PacavitError: it does not.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise PacavitError(f"{archive}: member {name!r} leads out of its folder; such archives are refused")
    return str(path)


def check_image(content: bytes | Path, name: str) -> tuple[int, int]:
    """Decode an image once and return its (width, height).

    Raises:
        PacavitError: it cannot be decoded, or is cut short.
    """
    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
            image.load()
            return image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PacavitError(f"{name}: broken image ({error}); fetch or make its archive again") from error


def take_own(job: Job, directory: str) -> None:
    """Link the user's archives to where the preparation reads them.

    Raises:
        PacavitError: one is missing or empty.
    """
    for output in job.outputs.values():
        source = Path(directory) / output.name
        if not source.is_file() or source.stat().st_size == 0:
            raise PacavitError(
                f"{source}: missing or empty; fetch the official {output.name} into that folder, "
                f"or set another one in params/{job.scale}/data.yaml"
            )
        output.parent.mkdir(parents=True, exist_ok=True)
        output.unlink(missing_ok=True)
        try:
            os.link(source, output)
        except OSError:
            output.symlink_to(source.resolve())


def remedy(job: Job) -> str:
    """Return what to do about a damaged archive of this job."""
    dataset = job.stage.removeprefix("prepare_")
    archives = getattr(job.params.data, dataset).archives
    return f"run `pacavit archives {dataset}`" if archives.kind == "digits" else "fetch it again"


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
