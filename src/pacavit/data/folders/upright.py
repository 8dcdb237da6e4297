"""A check of images whose annotations are in pixels."""

from __future__ import annotations

from pathlib import Path

from pacavit.data.archives import open_image
from pacavit.errors import PacavitError

_ORIENTATION = 0x0112


def check_upright(content: bytes, path: Path) -> None:
    """Refuse an image that only its Exif data turn upright: readers differ on them, and annotations would be off.

    Raises:
        PacavitError: it is turned or cannot be decoded.
    """
    image = open_image(content)
    if isinstance(image, str):
        raise PacavitError(f"{path}: broken image ({image}); replace or remove it")
    if image.getexif().get(_ORIENTATION, 1) != 1:
        raise PacavitError(f"{path}: turned by its Exif data; save it upright, as its annotations are")
