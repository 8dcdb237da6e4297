"""Image files of any kind, read in one way: upright, RGB, 8 bits a channel."""

from __future__ import annotations

import io
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from pacavit.errors import PacavitError

#: What the values of Exif's orientation ask for; others, such as 0, mean nothing.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: Formats that Pillow and OpenCV read alike, and in which modes. An MPO is a JPEG with a preview behind it.
_COMMON = {
    "JPEG": {"L", "RGB"},
    "MPO": {"L", "RGB"},
    "PNG": {"1", "L", "P", "RGB"},
    "WEBP": {"RGB"},
}
_BITS_PER_SAMPLE = 258  # tag of a TIFF


class PictureError(PacavitError):
    """An image file that cannot be read, or whose values have no certain meaning.

    Attributes:
        path: of the file.
        reason: what is wrong with it.
    """

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}; replace it or leave it out")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[Path | str, str]]:
        return type(self), (self.path, self.reason)


@dataclass(frozen=True)
class Packed:
    """An image file that all readers read alike.

    Attributes:
        content: the bytes of the file, unchanged if possible, or of a PNG with the same pixels.
        size: width and height as people see it, pixels.
        changes: why the bytes are not those of the file: ``turned upright``, ``transparency`` and the like.
    """

    content: bytes
    size: tuple[int, int]
    changes: tuple[str, ...] = ()


def decode(content: bytes, path: Path | str, upright: bool = True) -> Image.Image:
    """Return an image in RGB, 8 bits a channel.

    16 bits become 8 by their upper byte. Floats are taken to be from 0 to 1. What is transparent is laid over white.
    Of several frames the first counts. Which format a file has, its bytes tell and not its name. Damaged Exif data are
    ignored.

    Args:
        content: bytes of the file.
        path: name of the file, for messages.
        upright: turn the image as its Exif data say; otherwise its pixels stay as they are stored.

    Raises:
        PictureError: the file cannot be decoded, or there is no right way to bring it to 8 bits.
    """
    image = load(content, path)
    if upright and orientation(image) != 1:
        image = image.transpose(_TURNS[orientation(image)])
    return _rgb(image, path)


def pack(content: bytes, path: Path | str) -> Packed:
    """Return an image file as it is if all readers read it as :func:`decode` does, or as a PNG of what that returns.

    Raises:
        PictureError: as of :func:`decode`.
    """
    size, changes = examine(content, path)
    if not changes:
        return Packed(content, size)
    file = io.BytesIO()
    decode(content, path).save(file, "PNG", compress_level=1)  # in a quarter of the time, a tenth larger
    return Packed(file.getvalue(), size, changes)


def examine(content: bytes, path: Path | str) -> tuple[tuple[int, int], tuple[str, ...]]:
    """Return width and height of an image as people see it, and what :func:`pack` changes, without doing so.

    Raises:
        PictureError: as of :func:`decode`.
    """
    image = load(content, path)
    changes = differences(image)
    return (decode(content, path).size if changes else image.size), changes


def differences(image: Image.Image) -> tuple[str, ...]:
    """Return in what a file, as :func:`load` opened it, is read otherwise by Pillow, OpenCV or :func:`decode`."""
    found = []
    if orientation(image) != 1:
        found.append("turned upright")
    if image.mode[0] == "I":
        found.append("more than 8 bits a channel")
    if image.mode == "F":
        found.append("floats")
    if image.has_transparency_data:
        found.append("transparency")
    if image.mode == "CMYK":
        found.append("CMYK")
    # An MPO's other frames are previews or the other eye's view.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        found.append("first of several frames")
    if not found and image.mode not in _COMMON.get(image.format or "", ()):
        found.append(f"{image.format}")
    return tuple(found)


def load(content: bytes, path: Path | str) -> Image.Image:
    """Return an image as Pillow decodes it, in the mode of the file.

    Raises:
        PictureError: it cannot be decoded.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content))
            image.load()
            return image
    except UnidentifiedImageError:
        reason = "no image that Pillow knows" if content else "no image, but empty"
    except Exception as error:  # decoders of damaged files raise whatever they stumble over
        reason = str(error) or type(error).__name__
    raise PictureError(path, f"not readable as an image ({reason})")


def orientation(image: Image.Image) -> int:
    """Return Exif's orientation from 1, upright, to 8; 1 if there is none or one without a meaning."""
    with suppress(Exception):  # damaged Exif data are no fault of the picture
        value = image.getexif().get(ExifTags.Base.Orientation)
        return value if value in _TURNS else 1
    return 1


def _rgb(image: Image.Image, path: Path | str) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        bits = 8
        if image.format == "TIFF":
            bits = image.tag_v2.get(_BITS_PER_SAMPLE, (16,))[0] - 8  # 12 bits are kept in 16
        image = Image.fromarray((np.asarray(image).astype(np.int32) >> bits).astype(np.uint8))
    elif image.mode == "I":
        raise PictureError(path, "has whole numbers of 32 bits, of which none is sure to be white")
    elif image.mode == "F":
        values = np.asarray(image)
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):  # nor if one is nan
            raise PictureError(path, f"has floats from {low:g} to {high:g}, and 0 is to be black and 1 white")
        image = Image.fromarray((values * 255).round().astype(np.uint8))
    elif image.has_transparency_data:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
    return image.convert("RGB")
