"""Settings of the machine, which have no say in a result: environment variables."""

from __future__ import annotations

import os

from pacavit.errors import PacavitError


def seconds(name: str, default: float, zero: bool = False) -> float:
    """Return a variable's number of seconds.

    Args:
        name: of the variable.
        default: where it is not set.
        zero: whether 0 is one too.

    Raises:
        PacavitError: it is no number of seconds.
    """
    given = os.environ.get(name)
    if given is None:
        return default
    try:
        value = float(given)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf") or (value == 0 and not zero):
        expected = "0 or more" if zero else "above 0"
        raise PacavitError(f"{name}={given}: expected a number of seconds, {expected}")
    return value
