"""The image files of folders of the user's: found, looked at by several processes, and read for packing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from pacavit.data import pictures, tasks
from pacavit.data.pictures import PictureError
from pacavit.data.protection import refuse_prepared
from pacavit.errors import PacavitError
from pacavit.files import is_hidden, listed, printable, read_source
from pacavit.runtime.progress import report

#: Endings of images that Pillow cannot open.
_OTHER_IMAGES = frozenset({".heic", ".heif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".svg"})
#: Pixels of the shorter side, and proportion of the sides, within which an image can be resized at every scale.
_SMALLEST_SIDE, _LARGEST_RATIO = 2, 100


@dataclass(frozen=True)
class Picture:
    """An image file that can be packed.

    Attributes:
        path: of the file.
        size: width and height as people see it, pixels.
        changes: what packing changes of it, as of :class:`~pacavit.data.pictures.Packed`.
    """

    path: Path
    size: tuple[int, int]
    changes: tuple[str, ...] = ()

    def packed(self) -> bytes:
        """Return what goes into an archive."""
        content = read_source(self.path)
        return pictures.pack(content, self.path).content if self.changes else content


def contents(found: Sequence[Picture]) -> Iterator[tuple[Picture, bytes]]:
    """Give each image with what goes into an archive; what is stored as PNG is encoded by several processes."""
    encoded = tasks.in_order(Picture.packed, [picture for picture in found if picture.changes], together=1)
    for picture in found:
        yield picture, next(encoded) if picture.changes else picture.packed()


class Skipped:
    """Files and folders that are left out, by the reason."""

    def __init__(self) -> None:
        self._found: dict[str, list[Path]] = {}

    def add(self, reason: str, path: Path) -> None:
        """Note one."""
        self._found.setdefault(reason, []).append(path)

    def report(self, label: str) -> None:
        """Say how many were left out, why, and which."""
        for reason, paths in self._found.items():
            report(f"{label}: {len(paths):,} left out, {reason}: {listed(paths)}")


def walk(
    folder: Path, skipped: Skipped, without: Collection[Path] = (), prepared: bool = False
) -> list[Path]:
    """Return the files below a folder, those of linked folders among them, in the order of their paths.

    Args:
        folder: where to look.
        skipped: takes what is hidden or no file.
        without: folders below it that hold something else.
        prepared: let links lead into a prepared data set.

    Raises:
        PacavitError: a folder cannot be read, or a link leads nowhere, around in a circle or into a prepared data set.
    """
    above = tuple(map(str, Path(os.path.realpath(folder)).parents))
    return _walk(folder, skipped, {os.path.realpath(other) for other in without}, above, prepared)


def _walk(
    folder: Path, skipped: Skipped, without: Collection[str], above: tuple[str, ...], prepared: bool
) -> list[Path]:
    real = os.path.realpath(folder)
    if real in above:
        raise PacavitError(f"{printable(folder)}: is a link to a folder that holds it; remove it")
    found = []
    for path in entries(folder, skipped, prepared):
        if path.is_dir():
            if os.path.realpath(path) not in without:
                found += _walk(path, skipped, without, (*above, real), prepared)
        elif path.is_file():
            found.append(path)
        else:
            skipped.add("neither file nor folder", path)
    return found


def entries(folder: Path, skipped: Skipped, prepared: bool = False) -> list[Path]:
    """Return what is in a folder, in the order of the names, but for hidden files and folders and those of systems.

    Raises:
        PacavitError: the folder cannot be read, or a link leads nowhere or into a prepared data set.
    """
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise PacavitError(
            f"{printable(folder)}: cannot be read ({error.strerror}); mend the path or its rights, or leave it out"
        ) from None
    shown = []
    for path in found:
        if is_hidden(path.name):
            skipped.add("hidden or of the system", path)
            continue
        if path.is_symlink():
            if not path.exists():
                raise PacavitError(f"{printable(path)}: is a link that leads nowhere; mend or remove it")
            if not prepared:
                refuse_prepared(path, printable(path))
        shown.append(path)
    return shown


def look(paths: Sequence[Path], skipped: Skipped, label: str) -> list[Picture]:
    """Decode every image once, and return those that are images, in the same order.

    A file that neither is an image nor has the name of one is left out.

    Args:
        paths: of the files.
        skipped: takes those that are no images.
        label: of the progress bar.

    Raises:
        PacavitError: images cannot be read; the message names them.
    """
    found = in_parallel(_look, paths, label)
    broken = [error for error in found if isinstance(error, PacavitError)]
    refuse(broken, f"{label}: {len(broken)} files cannot be read as images; replace them or leave them out")
    for path, picture in zip(paths, found, strict=True):
        if picture is None:
            skipped.add("no images", path)
    return [picture for picture in found if isinstance(picture, Picture)]


def in_parallel(function: Callable[[Any], Any], items: Sequence[Any], label: str) -> list[Any]:
    """Return ``function(item)`` of each item, computed by several processes, under a progress bar."""
    results = tasks.in_order(function, items)
    return list(tqdm(results, desc=label, total=len(items), unit="image", disable=None))


def refuse(errors: Sequence[PacavitError], summary: str) -> None:
    """Raise an error as it is, or several as one.

    Raises:
        PacavitError: there is one.
    """
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise PacavitError(f"{summary}: {listed([str(error) for error in errors])}")


def report_changes(found: Iterable[Picture], label: str) -> None:
    """Say how many images are stored as PNG, since readers differ on them, and why."""
    counts = Counter(change for picture in found for change in picture.changes)
    if counts:
        listing = ", ".join(f"{count:,} {change}" for change, count in sorted(counts.items()))
        report(f"{label}: stored as PNG, in RGB of 8 bits: {listing}")


def _look(path: Path) -> Picture | PacavitError | None:
    """Return an image, why it cannot be read, or None for a file that is none."""
    try:
        size, changes = pictures.examine(read_source(path), printable(path))
        if min(size) < _SMALLEST_SIDE or max(size) > _LARGEST_RATIO * min(size):
            raise PictureError(
                printable(path),
                f"has {size[0]} × {size[1]} pixels, too narrow to be resized: a side needs {_SMALLEST_SIDE} pixels, "
                f"and may be {_LARGEST_RATIO} times the other",
            )
        return Picture(path, size, changes)
    except PictureError as error:
        return error if path.suffix.lower() in image_suffixes() else None
    except PacavitError as error:
        return error


@cache
def image_suffixes() -> frozenset[str]:
    """Return the endings of image files, in small letters."""
    Image.init()
    return _OTHER_IMAGES | {
        suffix for suffix, form in Image.registered_extensions().items() if form in Image.OPEN
    }
