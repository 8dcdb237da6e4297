"""Unpacking of zip archives of images, in parts that several processes share."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pacavit.data import tasks
from pacavit.data.archives import open_image

#: Images of one part.
_IMAGES = 512


@dataclass(frozen=True)
class _Part:
    """Some images of a zip archive.

    Attributes:
        name: of the part.
        archive: the zip file.
        members: names in it.
        strip: what to leave out at the beginning of a name.
        largest: also note the largest value, of label maps.
        kind: what its images are called.
    """

    name: str
    archive: Path
    members: tuple[str, ...]
    strip: str
    largest: bool
    kind: str

    @property
    def images(self) -> int:
        return len(self.members)

    def __call__(self, folder: Path) -> tasks.Record:
        """Write the images, and note of each its size (width, height) and mode."""
        record = tasks.Record(images=self.images)
        with zipfile.ZipFile(self.archive) as archive:
            for member in self.members:
                path, content = member.removeprefix(self.strip), archive.read(member)
                image = open_image(content)
                if isinstance(image, str):
                    record.broken.append(f"{path} ({image})")
                    continue
                record.facts[path] = {"size": image.size, "mode": image.mode}
                if self.largest:
                    record.facts[path]["largest"] = int(np.asarray(image).max())
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content)
                record.files[path] = hashlib.sha256(content).hexdigest()
                record.sizes[path] = len(content)
        return record


def image_parts(
    archive: Path,
    members: Sequence[str],
    name: str,
    strip: str = "",
    largest: bool = False,
    kind: str = "images",
) -> list[tasks.Part]:
    """Return the parts that unpack images; arguments as of a part."""
    return [
        _Part(f"{name}-{start:08d}", archive, tuple(members[start : start + _IMAGES]), strip, largest, kind)
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
