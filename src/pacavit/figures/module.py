"""The attention module as a drawing (paper, figure 2): between patches, to a reduced grid, and to clusters."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from pacavit.drawing.style import COLOURS

_PANELS = (
    ("Vanilla attention", "x, N patches", [], "O(N²)"),
    ("Spatial reduction", "x, N patches", [("strided convolution", "N / R² positions")], "O(N² / R²)"),
    (
        "Patch-to-cluster",
        "LN(x), N patches",
        [
            ("clustering: depth-wise and\n1×1 convolutions, or an MLP", "logits, M × N"),
            ("softmax over the N patches", "assignment z, M × N"),
            ("LN(z x)", "M clusters"),
        ],
        "O(N M)",
    ),
)


def draw(canvas: Figure) -> None:
    """Draw the three side by side, from the patches at the bottom to the output at the top."""
    for axis, panel in zip(canvas.subplots(1, 3), _PANELS, strict=True):
        axis.set(xlim=(0, 10), ylim=(0, 15.2))
        axis.axis("off")
        _panel(axis, *panel)


def _panel(axis: Axes, title: str, tokens: str, steps: list[tuple[str, str]], cost: str) -> None:
    axis.set_title(f"{title}\n{cost} in the number of patches")
    _box(axis, 5, 0.8, tokens, width=9, shade=True)
    height = 1.4
    x = 6.9
    for step, shape in steps:
        _arrow(axis, (x, height), (x, height + 1.0), "")
        _box(axis, x, height + 1.6, step, width=6.0)
        height += 2.2
        # Beside the arrow that leaves the box; the last box has two, for K and V.
        last = step == steps[-1][0]
        where = (x - 1.4, "right") if last else (x + 0.2, "left")
        axis.text(where[0], height + 0.35, shape, fontsize=7, va="center", ha=where[1])
        if last and len(steps) > 1:
            _arrow(axis, (1.8, height - 0.6), (x - 3.0, height - 0.6), "")
            axis.text(2.1, height - 0.35, "x", fontsize=8)
    top = 10.2
    _arrow(axis, (1.8, 1.4), (1.8, top - 0.6), "Q")
    _arrow(axis, (x - 1.2, height), (x - 1.2, top - 0.6), "K")
    _arrow(axis, (x + 1.6, height), (x + 1.6, top - 0.6), "V")
    _box(axis, 5, top, "softmax(Q Kᵀ / √d) V, by head", width=9)
    _arrow(axis, (5, top + 0.6), (5, top + 1.6), "")
    _box(axis, 5, top + 2.2, "linear", width=4)
    _arrow(axis, (5, top + 2.8), (5, top + 3.8), "")
    axis.text(5, top + 4.2, "N patches", ha="center", va="center")


def _box(axis: Axes, x: float, y: float, text: str, width: float, shade: bool = False) -> None:
    corner = (x - width / 2, y - 0.6)
    colour = COLOURS[5] if shade else "white"
    axis.add_patch(FancyBboxPatch(corner, width, 1.2, "round,pad=0,rounding_size=0.2", fc=colour, ec="black"))
    axis.text(x, y, text, ha="center", va="center", fontsize=7.5)


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], label: str) -> None:
    axis.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "black"})
    axis.text(start[0] + 0.25, end[1] - 0.6, label, fontsize=8)
