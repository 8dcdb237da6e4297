"""Unpacking of zip archives of images, in parts that several processes share."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pacavit.data import pictures, tasks
from pacavit.data.pictures import PictureError
from pacavit.files import reading

#: Images of one part.
_IMAGES = 512
#: The data sets have such images, which Pillow and OpenCV read alike to a unit of the last place.
_TAKEN = frozenset({"CMYK"})


@dataclass(frozen=True)
class _Part:
    """Some images of a zip archive.

    Attributes:
        name: of the part.
        archive: the zip file.
        members: names in it.
        strip: what to leave out at the beginning of a name.
        labels: whether they are label maps, of which the pixels of each label are counted.
        kind: what its images are called.
        taken: in what readers may differ on an image, as of :func:`pacavit.data.pictures.differences`.
    """

    name: str
    archive: Path
    members: tuple[str, ...]
    strip: str
    labels: bool
    kind: str
    taken: frozenset[str]

    @property
    def images(self) -> int:
        return len(self.members)

    def __call__(self, folder: Path) -> tasks.Record:
        """Write the images, and note of each its size (width, height) and mode."""
        record = tasks.Record(images=self.images)
        with zipfile.ZipFile(self.archive) as archive:
            for member in self.members:
                path = member.removeprefix(self.strip)
                with reading(self.archive):
                    content = archive.read(member)
                try:
                    record.facts[path] = self._facts(content, path)
                except PictureError as error:
                    record.broken.append(f"{path} ({error.reason})")
                    continue
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content)
                record.files[path] = hashlib.sha256(content).hexdigest()
                record.sizes[path] = len(content)
        return record

    def _facts(self, content: bytes, path: str) -> dict[str, Any]:
        """Return what is to be known of an image.

        Raises:
            PictureError: it cannot be decoded, or readers differ on it.
        """
        image = pictures.load(content, path)
        facts: dict[str, Any] = {"size": image.size, "mode": image.mode}
        if self.labels:
            one_byte = image.mode in ("L", "P")
            counts = np.bincount(np.asarray(image).ravel()).tolist() if one_byte else []
            return {**facts, "pixels": {label: count for label, count in enumerate(counts) if count}}
        if others := set(pictures.differences(image)) - self.taken:
            raise PictureError(
                path,
                f"{', '.join(sorted(others))}, which readers differ on; use kind: folder, which converts it",
            )
        return facts


def image_parts(
    archive: Path,
    members: Sequence[str],
    name: str,
    strip: str = "",
    labels: bool = False,
    kind: str = "images",
    official: bool = True,
) -> list[tasks.Part]:
    """Return the parts that unpack images.

    Args:
        archive, members, name, strip, labels, kind: as of a part.
        official: whether all images are known to be those of the papers, who took them however they are turned.
    """
    taken = _TAKEN | {"turned upright"} if official else _TAKEN
    return [
        _Part(
            f"{name}-{start:08d}",
            archive,
            tuple(members[start : start + _IMAGES]),
            strip,
            labels,
            kind,
            taken,
        )
        for start in range(0, len(members), _IMAGES)
    ]


def extract(archive: Path, members: Sequence[str], folder: Path, strip: str = "") -> dict[str, str]:
    """Unpack a few files that are no images, and return their SHA-256 by path."""
    files = {}
    with zipfile.ZipFile(archive) as source:
        for member in members:
            path, content = member.removeprefix(strip), source.read(member)
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
            files[path] = hashlib.sha256(content).hexdigest()
    return files
