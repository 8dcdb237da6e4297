"""The images that a model is to look at: finding, naming and reading them."""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pacavit.data.folders.files import Skipped, look, walk
from pacavit.data.pictures import decode
from pacavit.errors import PacavitError
from pacavit.files import read_source

#: Folder of label maps below the one that is written to.
LABELS = "labels"

#: Most bytes of a name: a disk takes 255, of which the suffix and a file that is being written need some.
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Found:
    """An image.

    Attributes:
        path: as the user gave it, or below the folder that was given.
        number: from 1.
        name: of what is written of it, without suffix; no other image has it.
    """

    path: Path
    number: int
    name: str


def find(given: Sequence[Path], target: Path) -> list[Found]:
    """Return the images among files and below folders, those of a folder in the order of their paths.

    What a file is, its content says. In a folder, hidden files and files that are no images are left out, which is
    printed, and so is what an earlier run wrote, if ``target`` is below it. Links to folders are followed.

    Args:
        given: files and folders; a file that is there twice counts once.
        target: the folder to write into.

    Raises:
        PacavitError: a path is missing, a folder has no images, an image is in ``target``, where a picture might take
            its place, or a file cannot be read as an image or is too narrow to be resized.
    """
    skipped = Skipped()
    files = {path: _files_in(path, target, skipped) for path in given}
    distinct: dict[Path, Path] = {}
    for file in itertools.chain.from_iterable(files.values()):
        distinct.setdefault(file.resolve(), file)
    images = [picture.path for picture in look(list(distinct.values()), skipped, "check")]
    for path, own in files.items():
        if any(distinct[file.resolve()] in images for file in own):
            continue
        if path.is_dir():
            raise PacavitError(f"{path}: no images in it; expected files that Pillow can read")
        read(path)  # says what is wrong with it, but for its size
        raise PacavitError(f"{path}: too narrow to be resized; replace it or leave it out")
    skipped.report("images")
    names = _distinct([path.stem for path in images])
    return [Found(p, i, n) for i, (p, n) in enumerate(zip(images, names, strict=True), start=1)]


def require_folder(target: Path) -> None:
    """Do nothing if files can be written into a folder that is there, or can be made.

    Raises:
        PacavitError: it is a file, lies below one or below a link that leads nowhere, or may not be written to.
    """
    try:
        there = next(folder for folder in (target, *target.parents) if os.path.lexists(folder))
        if not there.exists():
            raise PacavitError(
                f"{there}: is a link that leads nowhere; mend it or give another folder as --to"
            )
        if not there.is_dir():
            raise PacavitError(f"{there}: is a file; give a folder as --to")
        with suppress(FileNotFoundError):
            target.stat()
    except OSError as error:
        raise PacavitError(
            f"{target}: cannot be written ({error.strerror}); give another folder as --to"
        ) from None
    if not os.access(there, os.W_OK | os.X_OK):
        raise PacavitError(
            f"{there}: may not be written to; change its rights or give another folder as --to"
        )


def read(path: Path) -> Image.Image:
    """Return an image in RGB, turned upright as its Exif data say.

    Raises:
        PacavitError: it cannot be read, or not be decoded as of :func:`pacavit.data.pictures.decode`.
    """
    return decode(read_source(path), path)


def _files_in(path: Path, target: Path, skipped: Skipped) -> list[Path]:
    try:
        path.stat()
    except FileNotFoundError:
        raise PacavitError(f"{path}: no such file or folder; expected images, or folders of them") from None
    except OSError as error:
        raise PacavitError(
            f"{path}: cannot be read ({error.strerror}); mend the path or its rights"
        ) from None
    written = target.resolve(), (target / LABELS).resolve()
    folder = path if path.is_dir() else path.parent
    if folder.resolve() in written:
        raise PacavitError(f"{path}: is where the pictures are written to; choose another folder as --to")
    if folder != path:
        return [path]
    found = walk(path, skipped, without=[target / LABELS], prepared=True)
    return [file for file in found if file.parent.resolve() not in written]


def _distinct(stems: Sequence[str]) -> list[str]:
    """Return names in UTF-8 that are not too long, with ``-2`` and so on after those that are taken.

    Names are taken in capitals or not, and however accents are put together, as disks compare them.
    """
    taken: set[str] = set()
    names = []
    for stem in stems:
        stem = _shortened(stem)
        name, number = stem, 1
        while _compared(name) in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(_compared(name))
        names.append(name)
    return names


def _compared(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _shortened(stem: str) -> str:
    """Return a name in UTF-8, cut between two signs if it is too long."""
    encoded = os.fsencode(stem).decode("utf-8", "replace").encode()
    return encoded[:_LONGEST_NAME].decode("utf-8", "ignore")
