"""Clusters of a model over images: as figures, and as numbers for the page on which one can click."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex
from PIL import Image

from pacavit.drawing.grid import ratio
from pacavit.drawing.marks import blend
from pacavit.drawing.style import bare, class_colours, figure
from pacavit.drawing.text import shortened, text_width, wrapped
from pacavit.errors import PacavitError
from pacavit.files import atomic_file
from pacavit.interpretation.measures import pack
from pacavit.interpretation.views import View
from pacavit.job import Job

#: Heat maps of the most used clusters, a row.
_SHOWN = 4
#: Heads of which one sees the attention.
_HEADS = 8
_HEAT = mpl.colormaps["cividis"]
#: Width of a panel, inches, and sizes of the text above it and above all, points.
_PANEL, _SMALL, _TITLE = 1.5, 7.5, 11
#: Share of the patches that a heat map shows below its brightest colour.
_BELOW = 0.99


@dataclass(frozen=True)
class Pictured:
    """An image with what a model does on it."""

    name: str
    image: Image.Image
    views: list[View]


def chosen(job: Job, dataset: str, count: int) -> list[int]:
    """Return the numbers of the validation images whose clusters are shown.

    Raises:
        PacavitError: there are not so many images.
    """
    numbers = getattr(job.params.figures, dataset).explained
    if max(numbers) >= count:
        raise PacavitError(
            f"params/{job.scale}/figures.yaml: {dataset}.explained: {max(numbers)}: "
            f"there are {count} validation images; choose numbers from 0 to {count - 1}"
        )
    return numbers


def draw_all(job: Job, pictured: Sequence[Pictured], title: str) -> None:
    """Write the outputs ``clusters``, ``assignments``, ``attention`` and ``view`` of a job."""
    draw_clusters(job.outputs["clusters"], pictured, title)
    draw_assignments(job.outputs["assignments"], pictured, title)
    draw_attention(job.outputs["attention"], pictured, title)
    write_view(job.outputs["view"], pictured)
    for name in ("clusters", "assignments", "attention", "view"):
        job.run.artifact(job.outputs[name])


def sized(image: Image.Image, side: int) -> Image.Image:
    """Return an image in RGB whose shorter side has a length in pixels."""
    share = side / min(image.size)
    return image.convert("RGB").resize(tuple(max(side, round(length * share)) for length in image.size))


def draw_clusters(path: Path, pictured: Sequence[Pictured], title: str) -> None:
    """Draw, a row a stage of each image: the strongest cluster of each patch, and the most used clusters as heat maps.

    A cluster is used by the patches for which it is the strongest; heat maps are those of :func:`heat`.
    """
    rows = [(item, view) for item in pictured for view in item.views]
    with figure(path, _PANEL * (_SHOWN + 2), sum(_heights(rows)) + 0.3) as canvas:
        canvas.suptitle(title)
        axes = canvas.subplots(len(rows), _SHOWN + 2, squeeze=False, height_ratios=_heights(rows))
        for row, (item, view) in zip(axes, rows, strict=True):
            for axis in row:
                bare(axis)
            row[0].imshow(item.image)
            row[0].set_title(view.name, fontsize=_SMALL, loc="left")
            if view.assignment is None:
                note = row[1].text(0, 0.5, "plain attention between patches: no clusters", va="center")
                note.set_in_layout(False)
                for axis in row[1:]:
                    axis.axis("off")
                continue
            _draw_view(row[1:], item.image, view)


def draw_assignments(path: Path, pictured: Sequence[Pictured], title: str) -> None:
    """Draw all M assignment maps of each stage of each image, row by row from the most used to the least.

    Each has a scale of its own, that of :func:`heat`.
    """
    clustered = [[view for view in item.views if view.assignment is not None] for item in pictured]
    columns = len(clustered[0])
    most = max((len(view.assignment) for view in clustered[0]), default=1)
    side = max(3.2, 0.45 * math.sqrt(most))
    mosaics = [[_mosaic(view) for view in views] for views in clustered]
    heights = [
        side * max((len(mosaic) / mosaic.shape[1] for mosaic in row), default=0) + 0.25 for row in mosaics
    ]
    with figure(path, side * max(columns, 1), sum(heights) + 0.4) as canvas:
        words = f"{title}: all assignment maps, the most used first" if columns else f"{title}: no clusters"
        canvas.suptitle(wrapped(words, side * max(columns, 1) - 0.1, _TITLE, 2))
        if not columns:
            return
        axes = canvas.subplots(len(pictured), columns, squeeze=False, height_ratios=heights)
        for row, views, pictures in zip(axes, clustered, mosaics, strict=True):
            for axis, view, mosaic in zip(row, views, pictures, strict=True):
                bare(axis)
                axis.imshow(mosaic)
                used = len(np.unique(view.strongest))
                height, width = view.size
                axis.set_title(
                    f"{view.name}: {len(view.assignment)} clusters of {height} × {width} patches, {used} used",
                    fontsize=7,
                )


def draw_attention(
    path: Path, pictured: Sequence[Pictured], title: str, at: tuple[float, float] = (0.5, 0.5)
) -> None:
    """Draw, a row a stage of each image, where one patch looks by the first heads: through the clusters to the patches.

    Args:
        path: file to write.
        pictured: images with views.
        title: of the figure.
        at: the patch, as share of the image's height and width.
    """
    rows = [(item, view) for item in pictured for view in item.views]
    heads = min(_HEADS, max(len(view.attention) for _, view in rows))
    with figure(path, _PANEL * (heads + 1), sum(_heights(rows)) + 0.4) as canvas:
        words = f"{title}: where the marked patch looks, by head, in the first block"
        canvas.suptitle(wrapped(words, _PANEL * (heads + 1) - 0.1, _TITLE, 2))
        axes = canvas.subplots(len(rows), heads + 1, squeeze=False, height_ratios=_heights(rows))
        for row, (item, view) in zip(axes, rows, strict=True):
            for axis in row:
                bare(axis)
            patch = tuple(min(int(a * n), n - 1) for a, n in zip(at, view.size, strict=True))
            row[0].imshow(item.image)
            row[0].set_title(view.name, fontsize=_SMALL, loc="left")
            _mark(row[0], patch, view.size, item.image.size)
            for head, (axis, seen) in enumerate(zip(row[1:], view.to_patches(patch), strict=False)):
                axis.imshow(_HEAT(heat(seen)))
                axis.set_title(_top(view, patch, head), fontsize=_SMALL, loc="left", parse_math=False)
            for axis in row[1 + len(view.attention) :]:
                axis.axis("off")


def heat(weights: np.ndarray) -> np.ndarray:
    """Return weights of patches (H, W), at least 0, as shares of the colours, 0 to 1, for people to see.

    A few patches often have almost all of the weight. So the square root is shown, and all above the 99th percentile
    has the brightest colour.
    """
    most = np.quantile(weights, _BELOW, method="higher") or weights.max() or 1
    return np.sqrt(np.minimum(weights / most, 1))


def _heights(rows: Sequence[tuple[Pictured, View]]) -> list[float]:
    """Return the heights of rows of panels with a title each, inches."""
    return [_PANEL * ratio(item.image.size) + 0.22 for item, _ in rows]


def overlay(image: Image.Image, view: View) -> np.ndarray:
    """Return the image (H, W, 3), 0 to 1, under the colours of each patch's strongest cluster."""
    colours = class_colours(len(view.assignment))[view.strongest]
    shown = Image.fromarray((colours * 255).astype(np.uint8)).resize(image.size, Image.Resampling.NEAREST)
    return blend(np.asarray(image, dtype=np.float64) / 255, np.asarray(shown) / 255)


def write_view(path: Path, pictured: Sequence[Pictured]) -> None:
    """Write the numbers of :func:`as_json` of several images."""
    with atomic_file(path) as temporary:
        # Without indents, which would make a line of each number.
        temporary.write_text(json.dumps([as_json(item) for item in pictured], sort_keys=True) + "\n")


def as_json(item: Pictured) -> dict[str, Any]:
    """Return what the page needs to show an image's clusters: bytes of weights in base64, with the largest of each.

    An assignment is M maps, an attention h × N × M weights, each map and each patch's weights in 255ths of the largest.
    """
    stages = []
    for view in item.views:
        strongest = view.attention.max(axis=-1)
        stage: dict[str, Any] = {
            "name": view.name,
            "height": view.size[0],
            "width": view.size[1],
            "heads": len(view.attention),
            "attention": _bytes(view.attention / strongest[..., None]),
            "attention_peaks": base64.b64encode(strongest.astype("<f4").tobytes()).decode(),
            "names": None if view.names is None else list(view.names),
        }
        if view.assignment is not None:
            peaks = view.assignment.max(axis=(1, 2))
            stage["clusters"] = len(peaks)
            stage["peaks"] = [float(f"{peak:.4g}") for peak in peaks]
            stage["assignment"] = _bytes(view.assignment / peaks[:, None, None])
            stage["strongest"] = pack(view.strongest)
            stage["colours"] = [to_hex(colour) for colour in class_colours(len(peaks))]
        stages.append(stage)
    return {"name": item.name, "image": _picture(item.image), "stages": stages}


def _draw_view(axes: np.ndarray, image: Image.Image, view: View) -> None:
    used, counts = np.unique(view.strongest, return_counts=True)
    order = used[np.argsort(-counts, kind="stable")]
    axes[0].imshow(overlay(image, view))
    axes[0].set_title(f"{len(used)} of {len(view.assignment)} used", fontsize=_SMALL, loc="left")
    for axis, cluster in zip(axes[1:], order, strict=False):
        axis.imshow(_HEAT(heat(view.assignment[cluster])))
        share = f": {np.mean(view.strongest == cluster):.0%}"
        name = shortened(_name(view, cluster), _PANEL - 0.1 - text_width(share, _SMALL), _SMALL)
        axis.set_title(
            name + share, fontsize=_SMALL, loc="left", parse_math=False
        )  # a name may hold a dollar
    for axis in axes[1 + len(order) :]:
        axis.axis("off")


def _mosaic(view: View) -> np.ndarray:
    """Return all maps of a view side by side, about as wide as high, on grey."""
    maps = view.assignment
    counts = np.bincount(view.strongest.ravel(), minlength=len(maps))
    order = np.argsort(-counts, kind="stable")
    height, width = view.size
    columns = math.ceil(math.sqrt(len(maps) * height / width))
    rows = math.ceil(len(maps) / columns)
    gap = max(1, height // 16)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 150, np.uint8)
    for place, cluster in enumerate(order):
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        canvas[top : top + height, left : left + width] = _HEAT(heat(maps[cluster]), bytes=True)[..., :3]
    return canvas


def _mark(axis: Any, patch: tuple[int, int], grid: tuple[int, int], size: tuple[int, int]) -> None:
    """Frame a patch (row, column) of the grid on an image of a size (width, height)."""
    height, width = size[1] / grid[0], size[0] / grid[1]
    corner = (patch[1] * width - 0.5, patch[0] * height - 0.5)
    for colour, line in (("white", 3.0), ("black", 1.2)):
        axis.add_patch(
            mpl.patches.Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=line)
        )


def _top(view: View, patch: tuple[int, int], head: int) -> str:
    """Say which cluster a head attends to most from a patch."""
    if view.assignment is None:
        return f"head {head + 1}"
    weights = view.attention[head, patch[0] * view.size[1] + patch[1]]
    best = int(weights.argmax())
    before, after = f"head {head + 1}: ", f", {weights[best]:.0%}"
    room = _PANEL - 0.1 - text_width(before + after, _SMALL)
    return f"{before}{shortened(_name(view, best), room, _SMALL)}{after}"


def _name(view: View, cluster: int) -> str:
    return f"cluster {cluster}" if view.names is None else view.names[cluster]


def _bytes(shares: np.ndarray) -> str:
    return base64.b64encode(np.rint(shares * 255).astype(np.uint8).tobytes()).decode()


def _picture(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "WEBP", quality=90, method=6)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
