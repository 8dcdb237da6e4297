"""One look for all figures: readable in grey and by the colour-blind, and the same bytes for the same input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from pacavit.files import atomic_file

#: Okabe and Ito's colours, which the colour-blind tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")

_STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.prop_cycle": mpl.cycler(color=list(COLOURS)),
    "figure.constrained_layout.use": True,
    "savefig.dpi": 110,
    "image.interpolation": "nearest",
    "svg.hashsalt": "pacavit",
}
#: Without versions and dates, so that the same figure has the same bytes.
_METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}


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


def class_colours(count: int) -> np.ndarray:
    """Return ``count`` RGB colours (count, 3) from 0 to 1 that also differ in lightness."""
    return mpl.colormaps["turbo"](np.linspace(0.04, 0.96, count))[:, :3]


def bare(axes) -> None:
    """Take ticks, grid and frame off axes that hold a picture."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
