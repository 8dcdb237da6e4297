"""A picture of an image with what was found in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pacavit.drawing.style import bare, figure

#: Long side of the image in the picture, pixels: smaller ones are drawn larger, larger ones are shrunk.
_SMALLEST, _LARGEST = 660, 1650
_DOTS_PER_INCH = 110
#: Narrowest picture and height of a line of text, inches.
_NARROWEST, _LINE = 4.5, 0.19


def fitted(image: Image.Image) -> Image.Image:
    """Return an image no larger than a picture shows it: each object in a photograph takes memory of that size."""
    scale = _LARGEST / max(image.size)
    if scale >= 1:
        return image
    return image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)


@contextmanager
def picture(path: Path, image: Image.Image, lines: int) -> Iterator[tuple[Figure, Axes]]:
    """Give a figure and its axes, which are to show a :func:`fitted` image; written as PNG when the block ends.

    Args:
        path: of the PNG.
        image: for its size alone.
        lines: of text above or below, which there has to be room for.
    """
    height = image.height * _inches(image)
    with figure(path, picture_width(image), height + _LINE * lines + 0.1) as canvas:
        axis = canvas.subplots()
        bare(axis)
        yield canvas, axis


def picture_width(image: Image.Image) -> float:
    """Return the width of the picture of a :func:`fitted` image, inches."""
    return max(_NARROWEST, image.width * _inches(image))


def _inches(image: Image.Image) -> float:
    """Return the side of a pixel in the picture."""
    return max(1.0, _SMALLEST / max(image.size)) / _DOTS_PER_INCH
