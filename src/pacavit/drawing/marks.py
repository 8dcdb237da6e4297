"""What a model found, drawn on the image: objects, labelled pixels, and legends of classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.transforms import Bbox

from pacavit.drawing.style import DOTS_PER_INCH
from pacavit.drawing.text import shortened, text_width

#: Stands in label maps for pixels without a label.
UNLABELLED = 255
_GREY = 0.5
#: Size of the text beside an object and in a legend, points.
_SMALL, _LEGEND = 7, 8
#: In a legend, width of what stands beside a name, inches.
_MARK = 0.55


@dataclass(frozen=True)
class Marked:
    """An object to draw.

    Attributes:
        box: left, top, width and height, pixels.
        mask: true on the object (H, W).
        colour: of box and mask (3,), from 0 to 1.
        text: beside the box.
        crowd: dash the box.
    """

    box: Sequence[float]
    mask: np.ndarray
    colour: np.ndarray
    text: str
    crowd: bool = False


def draw_objects(axis: Axes, objects: Sequence[Marked]) -> int:
    """Draw objects on axes that show their image, the small above the large.

    Text is placed where it covers no other text, for the first objects first, and left out where no place is free.

    Returns:
        the number of objects whose text is left out.
    """
    axis.autoscale(False)  # a mask would claim the axes for itself
    for item in sorted(objects, key=lambda item: -item.box[2] * item.box[3]):
        _draw_object(axis, item)
    # Places depend on where the layout puts the axes.
    axis.figure.draw_without_rendering()
    picture = axis.get_window_extent()
    taken: list[Bbox] = []
    for item in objects:
        _write(axis, item, picture, taken)
    return len(objects) - len(taken)


def _draw_object(axis: Axes, item: Marked) -> None:
    x, y, width, height = item.box
    for colour, line in (("black", 2.4), (item.colour, 1.4)):  # on a ground of its own colour, too
        axis.add_patch(
            Rectangle(
                *((x, y), width, height),
                **{"fill": False, "edgecolor": colour, "linewidth": line},
                linestyle="--" if item.crowd else "-",
            )
        )
    rows, columns = np.flatnonzero(item.mask.any(axis=1)), np.flatnonzero(item.mask.any(axis=0))
    if rows.size:
        # Of the object's own size: a hundred tints of a whole photograph do not fit into memory.
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        part = item.mask[top:bottom, left:right].astype(bool)
        tint = np.zeros((*part.shape, 4))
        tint[part] = (*item.colour, 0.45)
        axis.imshow(tint, extent=(left - 0.5, right - 0.5, bottom - 0.5, top - 0.5))


def _write(axis: Axes, item: Marked, picture: Bbox, taken: list[Bbox]) -> None:
    """Write an object's text at the first place beside its box, or in it, that is free."""
    # Text on pixels is a little wider than its outlines.
    text = shortened(item.text, 0.92 * picture.width / DOTS_PER_INCH - 0.05, _SMALL)
    width = 1.06 * text_width(text, _SMALL) * DOTS_PER_INCH + 4
    height = _SMALL * 1.35 * DOTS_PER_INCH / 72
    x, y, across, down = item.box
    box = Bbox(axis.transData.transform([(x, y + down), (x + across, y)]))
    for left, bottom in _places(box, width, height):
        left = min(max(left, picture.x0), picture.x1 - width)
        place = Bbox.from_bounds(left, bottom, width, height)
        inside = place.y0 >= picture.y0 - 1 and place.y1 <= picture.y1 + 1
        if inside and not any(place.overlaps(other) for other in taken):
            break
    else:
        return
    taken.append(place)
    start = axis.transData.inverted().transform((left + 2, bottom + height * 0.22))
    style = {"color": "white", "fontsize": _SMALL, "va": "baseline", "parse_math": False}
    label = axis.text(*start, text, **style)
    label.set_in_layout(False)
    label.set_path_effects([effects.withStroke(linewidth=2, foreground="black")])


def _places(box: Bbox, width: float, height: float) -> Iterator[tuple[float, float]]:
    """Give the corners (left, bottom) of a text around a box and in it, the usual one first."""
    right = box.x1 - width
    yield from ((box.x0, box.y1), (right, box.y1))
    yield from ((box.x0, box.y1 - height), (right, box.y1 - height))
    yield from ((box.x0, box.y0), (right, box.y0))
    yield from ((box.x0, box.y0 - height), (right, box.y0 - height))
    steps = int(box.height / height)
    yield from ((box.x0, box.y1 - height * (step + 1)) for step in range(1, steps))


def coloured(labels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Return a picture (H, W, 3) of a label map (H, W), from 0 to 1; grey where it has no label."""
    picture = np.full((*labels.shape, 3), _GREY)
    labelled = labels != UNLABELLED
    picture[labelled] = colours[labels[labelled]]
    return picture


def blend(pixels: np.ndarray, overlay: np.ndarray) -> np.ndarray:
    """Return an image under a half-transparent picture, all (H, W, 3) from 0 to 1."""
    return 0.35 * pixels + 0.65 * overlay


def class_legend(canvas: Figure, names: Sequence[str], colours: Iterable[np.ndarray]) -> None:
    """Put a legend below a figure, which grows by its height; a name wider than the figure is cut."""
    if not names:
        return
    width = canvas.get_figwidth() - 0.1
    names = [shortened(name, width - _MARK, _LEGEND) for name in names]
    columns = _columns([text_width(name, _LEGEND) + _MARK for name in names], width)
    # matplotlib leaves out labels that begin with an underscore, so the names come afterwards.
    handles = [Patch(color=colour, label=" ") for colour in colours]
    legend = canvas.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        fontsize=_LEGEND,
        **{"frameon": False, "columnspacing": 1.2, "handlelength": 1.6, "borderaxespad": 0.1},
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)  # a name may hold a dollar
        text.set_text(name)
    height = canvas.get_figheight()
    canvas.set_figheight(height + len(names) * _LEGEND / 36)  # enough to lay it out
    canvas.draw_without_rendering()
    canvas.set_figheight(height + legend.get_window_extent().height / canvas.dpi + 0.05)


def _columns(widths: Sequence[float], width: float) -> int:
    """Return the most columns of a legend, which is filled column by column, that fit into a width."""
    for count in range(min(len(widths), 12), 1, -1):
        if sum(part.max() for part in np.array_split(np.array(widths), count)) <= width:
            balanced = math.ceil(len(widths) / math.ceil(len(widths) / count))
            even = sum(part.max() for part in np.array_split(np.array(widths), balanced)) <= width
            return balanced if even else count
    return 1
