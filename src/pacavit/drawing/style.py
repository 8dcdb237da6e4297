"""One look for all figures: readable in grey and by the colour-blind, and the same bytes for the same input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from pacavit.files import atomic_file

#: Okabe and Ito's colours, which the colour-blind tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")

DOTS_PER_INCH = 110

_STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.prop_cycle": mpl.cycler(color=list(COLOURS)),
    "figure.constrained_layout.use": True,
    "figure.dpi": DOTS_PER_INCH,
    "savefig.dpi": DOTS_PER_INCH,
    "image.interpolation": "nearest",
    "svg.hashsalt": "pacavit",
}
#: Without versions and dates, so that the same figure has the same bytes.
_METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}


# The matrices of OKLab.
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


@contextmanager
def figure(paths: Path | Sequence[Path], width: float, height: float) -> Iterator[Figure]:
    """Give an empty figure of a size in inches, and write it as PNG or SVG, by the suffixes, when the block ends."""
    with mpl.rc_context(_STYLE):
        canvas = Figure(figsize=(width, height))
        yield canvas
        for path in [paths] if isinstance(paths, Path) else paths:
            form = path.suffix.removeprefix(".")
            with atomic_file(path) as temporary:
                canvas.savefig(temporary, format=form, metadata=_METADATA[form])


@lru_cache
def class_colours(count: int) -> np.ndarray:
    """Return ``count`` RGB colours (count, 3) from 0 to 1: those of :data:`COLOURS` but black, then distinct ones.

    Each is the one most unlike those before it, in the OKLab space (Ottosson, "A perceptual color space for image
    processing", 2020). Greys are left to what has no class.
    """
    steps = np.linspace(0, 1, 18)
    candidates = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = oklab(candidates)
    vivid = (np.hypot(lab[:, 1], lab[:, 2]) > 0.06) & (lab[:, 0] > 0.4) & (lab[:, 0] < 0.95)
    candidates, lab = candidates[vivid], lab[vivid]
    chosen = [mpl.colors.to_rgb(colour) for colour in COLOURS[:-1]][:count]
    nearest = np.full(len(lab), np.inf)
    for colour in chosen:
        nearest = np.minimum(nearest, np.linalg.norm(lab - oklab(np.array(colour)), axis=1))
    while len(chosen) < count:
        best = int(nearest.argmax())
        chosen.append(tuple(candidates[best]))
        nearest = np.minimum(nearest, np.linalg.norm(lab - lab[best], axis=1))
    return np.array(chosen).reshape(-1, 3)


def oklab(colours: np.ndarray) -> np.ndarray:
    """Return lightness and the two axes of colour (..., 3) of sRGB colours (..., 3) from 0 to 1."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _TO_CONES.T) @ _TO_LAB.T


def bare(axes) -> None:
    """Take ticks, grid and frame off axes that hold a picture."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
