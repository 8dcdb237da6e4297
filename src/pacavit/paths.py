"""Paths beside most of the stages' outputs, which :mod:`pacavit.pipeline.table` states.

Every path is relative to the project's root, into which the command line changes first. The constants are patterns in
the syntax that :meth:`str.format` and Snakemake's wildcards share.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pacavit.errors import PacavitError

PARAMS = "params/{scale}/{page}.yaml"

#: Fingerprints of the user's own files.
SOURCES = "pipelines/{scale}/sources.json"

#: Folders that the stages ``archives_*`` and ``prepare_*`` write.
ARCHIVES = "data/{scale}/archives/{dataset}"
PREPARED = "data/{scale}/{dataset}"

PUBLISHED = "claims/published.csv"
#: Speed as measured by ``benchmarks/suite.py``, and committed.
BENCHMARKS = "reports/benchmarks.json"

#: Training state of one job, outside the declared outputs (Snakemake deletes those before a retry).
WORK = "work/{stage}/{fingerprint}"
LOG = "logs/{scale}/{job}.log"

TRACKING_DATABASE = "mlflow.db"


def fill(pattern: str, **names: str | int) -> str:
    """Return ``pattern`` with the given names filled in and the others left as they stand."""
    for name, value in names.items():
        pattern = pattern.replace(f"{{{name}}}", str(value))
    return pattern


def path(pattern: str, **names: str | int) -> Path:
    """Return ``pattern`` with its names filled in.

    Raises:
        KeyError: a name of the pattern is not given.
    """
    return Path(pattern.format(**names))


def project_root() -> Path | None:
    """Return the folder of the project that holds the current folder; None outside one.

    That is the nearest one with pages of parameters. Where a link led here, the folders above the link count too.

    Raises:
        PacavitError: the current folder was removed.
    """
    try:
        here = Path.cwd()
    except FileNotFoundError:
        raise PacavitError("the current folder is gone; change to another one") from None
    typed = Path(os.environ.get("PWD", here))
    starts = [here]
    if typed.is_absolute() and typed.exists() and typed.samefile(here):
        starts.append(typed)
    pages = PARAMS.format(scale="*", page="targets")
    return next(
        (folder for start in starts for folder in (start, *start.parents) if any(folder.glob(pages))), None
    )


def require_project() -> None:
    """Refuse a current folder without pages of parameters.

    Raises:
        PacavitError: says where the project is, or what to look for.
    """
    root = project_root()
    if root is None:
        raise PacavitError(
            f"{Path.cwd()}: in no project; change to the folder that holds params/ and the Snakefile, or one below it"
        )
    if not root.samefile(Path.cwd()):
        raise PacavitError(f"{Path.cwd()}: not the project's root; change to {root}")


def modules(names: Iterable[str]) -> list[Path]:
    """Return the files and folders of modules that are the user's own: those in the project's root."""
    tops = dict.fromkeys(name.partition(".")[0] for name in names)
    return [place for top in tops for place in (Path(f"{top}.py"), Path(top)) if place.exists()]
