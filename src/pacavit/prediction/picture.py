"""A picture of an image with what was found in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pacavit.drawing.style import DOTS_PER_INCH, bare, figure

#: Long side of the image in the picture, pixels: smaller ones are drawn larger, larger ones are shrunk.
_SMALLEST, _LARGEST = 660, 1650
#: Narrowest picture and height of a line of text, inches.
_NARROWEST, _LINE = 4.5, 0.19


def fitted(image: Image.Image) -> Image.Image:
    """Return an image no larger than a picture shows it: each object in a photograph takes memory of that size."""
    scale = _LARGEST / max(image.size)
    if scale >= 1:
        return image
    return image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)


@contextmanager
def picture(path: Path, image: Image.Image, lines: int = 0) -> Iterator[tuple[Figure, Axes]]:
    """Give a figure and its axes, which are to show a :func:`fitted` image; written as PNG when the block ends.

    Args:
        path: of the PNG.
        image: for its size alone.
        lines: of text above, which there has to be room for; a legend makes its own.
    """
    side = max(1.0, _SMALLEST / max(image.size)) / DOTS_PER_INCH
    width, height = max(_NARROWEST, image.width * side), image.height * side
    with figure(path, width, height + _LINE * lines + 0.1) as canvas:
        axis = canvas.subplots()
        bare(axis)
        yield canvas, axis
