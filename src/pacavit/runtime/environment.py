"""Settings of the machine that no result depends on: environment variables, the locale, Python's environment."""

from __future__ import annotations

import codecs
import locale
import os
import sys
from pathlib import Path

import pacavit
from pacavit.errors import PacavitError
from pacavit.paths import project_root


def check() -> None:
    """Make sure that texts are read as they were written, and that the project's own code runs.

    Raises:
        PacavitError: the locale is not UTF-8, or the environment was copied from another project.
    """
    encoding = locale.getpreferredencoding(False)
    if codecs.lookup(encoding).name != "utf-8":
        raise PacavitError(
            f"the locale's encoding is {encoding}, and the project's files are UTF-8; set PYTHONUTF8=1, or "
            "LC_ALL to a locale of UTF-8 such as C.UTF-8"
        )
    for stream in (sys.stdout, sys.stderr):
        # PYTHONIOENCODING may name another encoding; a character that it lacks is escaped.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    root = project_root() or Path()
    own, running = (root / "src/pacavit").resolve(), Path(pacavit.__file__).resolve().parent
    chosen = [
        Path(folder).resolve() for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder
    ]
    if (
        (root / ".venv/pyvenv.cfg").exists()
        and own.is_dir()
        and own != running
        and running.parent not in chosen
    ):
        raise PacavitError(
            f"{running}: that code runs here, not this folder's src/pacavit, for .venv was copied from there or that "
            "of another project is active; `deactivate`, then `make install` makes .venv anew"
        )


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
