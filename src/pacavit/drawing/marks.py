"""What a model found, drawn on the image: objects, labelled pixels, and legends of classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from pacavit.drawing.style import COLOURS

#: Stands in label maps for pixels without a label.
UNLABELLED = 255
_GREY = 0.5
#: In a legend, width of what stands beside a name, and of a letter, inches.
_MARK, _LETTER = 0.6, 0.08


def object_colour(index: int) -> str:
    """Return the colour of the objects of a class; with more classes than colours they repeat."""
    return COLOURS[index % len(COLOURS)]


def draw_object(
    axis: Axes, box: Sequence[float], mask: np.ndarray, colour: str, text: str, crowd: bool = False
) -> None:
    """Draw an object on axes that show its image.

    Args:
        axis: in pixels of the image.
        box: left, top, width and height, pixels.
        mask: true on the object (H, W).
        colour: of box and mask.
        text: above the box.
        crowd: dash the box.
    """
    x, y, width, height = box
    dashes = "--" if crowd else "-"
    axis.add_patch(
        Rectangle((x, y), width, height, fill=False, edgecolor=colour, linewidth=1.5, linestyle=dashes)
    )
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size:
        # Of the object's own size: a hundred tints of a whole photograph do not fit into memory.
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        part = mask[top:bottom, left:right].astype(bool)
        tint = np.zeros((*part.shape, 4))
        tint[part] = (*to_rgb(colour), 0.45)
        axis.autoscale(False)  # a picture would claim the axes for itself
        axis.imshow(tint, extent=(left - 0.5, right - 0.5, bottom - 0.5, top - 0.5))
    # At the right edge, text from the left of the box on would run out of the picture.
    start, side = (x + width, "right") if x + width / 2 > 0.75 * max(axis.get_xlim()) else (x, "left")
    label = axis.text(start, y - 1, text, color="white", fontsize=7, ha=side, va="bottom", parse_math=False)
    label.set_path_effects([effects.withStroke(linewidth=2, foreground="black")])


def coloured(labels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Return a picture (H, W, 3) of a label map (H, W), from 0 to 1; grey where it has no label."""
    picture = np.full((*labels.shape, 3), _GREY)
    labelled = labels != UNLABELLED
    picture[labelled] = colours[labels[labelled]]
    return picture


def blend(pixels: np.ndarray, overlay: np.ndarray) -> np.ndarray:
    """Return an image under a half-transparent picture, all (H, W, 3) from 0 to 1."""
    return 0.35 * pixels + 0.65 * overlay


def legend_columns(width: float, names: Iterable[str]) -> int:
    """Return how many columns of a :func:`class_legend` with these names are no wider than a width in inches."""
    return max(1, int(width / (_MARK + _LETTER * max(map(len, names)))))


def class_legend(
    canvas: Figure, labels: Iterable[int], classes: Sequence[str], colours: np.ndarray, columns: int
) -> None:
    """Put a legend below a figure, of the classes that are among the labels."""
    handles = [Patch(color=colours[c], label=classes[c]) for c in labels if c != UNLABELLED]
    legend = canvas.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name may hold a dollar
