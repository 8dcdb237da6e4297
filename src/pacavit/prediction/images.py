"""The images that a model is to look at: finding, naming and reading them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from pacavit.data.pictures import decode
from pacavit.errors import PacavitError
from pacavit.files import read_source

#: Folder of label maps below the one that is written to.
LABELS = "labels"

#: What is taken for an image in a folder; a file that is named itself may end in anything.
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})


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

    Hidden files are left out, and so is what an earlier run wrote, if ``target`` is below a folder.

    Args:
        given: files and folders; a file that is there twice counts once.
        target: the folder to write into.

    Raises:
        PacavitError: a path is missing, a folder has no images, an image is in ``target``, where a picture might take
            its place, or a file cannot be read as an image.
    """
    written = {target.resolve(), (target / LABELS).resolve()}
    paths: dict[Path, Path] = {}
    for path in given:
        for file in _images_in(path, written):
            paths.setdefault(file.resolve(), file)
    for path in tqdm(paths.values(), desc="check", unit="image", leave=False, disable=None):
        read(path)
    names = _distinct([path.stem for path in paths.values()])
    return [Found(p, i, n) for i, (p, n) in enumerate(zip(paths.values(), names, strict=True), start=1)]


def read(path: Path) -> Image.Image:
    """Return an image in RGB, turned upright as its Exif data say.

    Raises:
        PacavitError: it cannot be read, or not be decoded as of :func:`pacavit.data.pictures.decode`.
    """
    return decode(read_source(path), path)


def _images_in(path: Path, written: Collection[Path]) -> list[Path]:
    if not path.exists():
        raise PacavitError(f"{path}: no such file or folder; expected images, or folders of them")
    folder = path if path.is_dir() else path.parent
    if folder.resolve() in written:
        raise PacavitError(f"{path}: is where the pictures are written to; choose another folder as --to")
    if folder != path:
        return [path]
    found = [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
        and file.parent.resolve() not in written
        and file.is_file()
    ]
    if not found:
        raise PacavitError(
            f"{path}: no images in it; expected files that end in {', '.join(sorted(SUFFIXES))}"
        )
    return found


def _distinct(stems: Sequence[str]) -> list[str]:
    """Return the names, with ``-2`` and so on after those that are taken, in capitals or not, as disks compare."""
    taken: set[str] = set()
    names = []
    for stem in stems:
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names
