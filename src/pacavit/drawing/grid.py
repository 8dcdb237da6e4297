"""Figures in which every image has the same panels side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pacavit.drawing.style import DOTS_PER_INCH, bare, figure
from pacavit.drawing.text import shortened

#: Height over width of a panel, at most: a tall image is drawn smaller.
TALLEST = 1.4
#: Height of the titles, inches, and their size, points.
_TITLE, _FONT = 0.3, 8


@contextmanager
def image_grid(
    path: Path,
    sizes: Sequence[tuple[int, int]],
    titles: Sequence[str],
    narrowest: float = 1.5,
    widest: float = 3.3,
    width: float = 10.0,
) -> Iterator[tuple[Figure, list[np.ndarray]]]:
    """Give a figure and the axes of each image, one for each title, and write it when the block ends.

    Panels are as wide as the largest image in pixels, within bounds. Several images stand in a row if they fit.

    Args:
        path: of the PNG.
        sizes: width and height of the images, pixels.
        titles: of the panels of an image.
        narrowest, widest: bounds of a panel's width, inches.
        width: of the figure at most, inches.
    """
    panels = len(titles)
    panel = max(max(size) for size in sizes) / DOTS_PER_INCH
    panel = min(max(panel, narrowest), widest, width / panels)
    blocks = max(1, min(len(sizes), int(width / (panel * panels))))
    rows = [sizes[start : start + blocks] for start in range(0, len(sizes), blocks)]
    heights = [panel * max(ratio(size) for size in row) for row in rows]
    with figure(path, panel * panels * blocks, sum(heights) + _TITLE) as canvas:
        axes = canvas.subplots(len(rows), blocks * panels, squeeze=False, height_ratios=heights)
        for axis in axes.ravel():
            bare(axis)
            axis.set_anchor("NW")  # in a row of several shapes titles stay in line
        for axis, title in zip(axes[0], list(titles) * blocks, strict=True):
            axis.set_title(shortened(title, panel - 0.08, _FONT), fontsize=_FONT, loc="left")
        blocked = [row[start : start + panels] for row in axes for start in range(0, len(row), panels)]
        for block in blocked[len(sizes) :]:
            for axis in block:
                axis.axis("off")
        yield canvas, blocked[: len(sizes)]


def ratio(size: tuple[int, int]) -> float:
    """Return the height over the width of an image's panel."""
    return min(TALLEST, size[1] / size[0])
