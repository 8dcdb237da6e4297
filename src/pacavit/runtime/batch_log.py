"""The lines by which a training without a terminal shows that it advances."""

from __future__ import annotations

from collections.abc import Mapping

_RATE = " images/s  "
_LEFT = " left"


def span(seconds: float) -> str:
    """Return a length of time as people say it: ``2 min 5 s``."""
    whole = round(seconds)
    for size, unit, part, smaller in ((3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def progress_line(
    label: str, step: int, steps: int, shown: Mapping[str, float], rate: float, left: float
) -> str:
    """Return a line of progress; :func:`is_progress` recognizes it.

    Args:
        label: what is trained.
        step: updates done.
        steps: updates in all.
        shown: values such as the loss, by name.
        rate: images per second.
        left: estimated time to the last update, seconds.
    """
    values = "".join(f"  {name} {value:.4g}" for name, value in shown.items())
    speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
    return f"{label}: update {step}/{steps}{values}  {speed}{_RATE}{span(left)}{_LEFT}"


def is_progress(line: str) -> bool:
    """Return whether a line of a log is a :func:`progress_line`."""
    return _RATE in line and line.endswith(_LEFT)
