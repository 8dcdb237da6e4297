"""Text that has to fit: measured before it is drawn."""

from __future__ import annotations

from functools import lru_cache

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

_DOTS = "…"
_POINTS = 72


@lru_cache(maxsize=4096)
def text_width(text: str, size: float) -> float:
    """Return the width of a line of text in inches; ``size`` is the font's, points."""
    return (
        text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)[0] / _POINTS
    )


def shortened(text: str, width: float, size: float) -> str:
    """Return a line of text, cut with an ellipsis if it is wider than ``width`` inches."""
    if text_width(text, size) <= width:
        return text
    kept = text
    while kept and text_width(kept.rstrip() + _DOTS, size) > width:
        kept = kept[:-1]
    return kept.rstrip() + _DOTS


def wrapped(text: str, width: float, size: float, lines: int) -> str:
    """Return text broken between words into at most so many lines of ``width`` inches, the last one cut to fit."""
    done: list[str] = []
    words = text.split()
    while words and len(done) < lines - 1:
        count = 1
        while count < len(words) and text_width(" ".join(words[: count + 1]), size) <= width:
            count += 1
        done.append(shortened(" ".join(words[:count]), width, size))
        words = words[count:]
    return "\n".join([*done, *([shortened(" ".join(words), width, size)] if words else [])])
