"""Paths beside most of the stages' outputs, which :mod:`pacavit.pipeline.table` states.

Every path is relative to the project's root, which is the current folder of all commands. The constants
are patterns in the syntax that :meth:`str.format` and Snakemake's wildcards share.
"""

from __future__ import annotations

from pathlib import Path

PARAMS = "params/{scale}/{page}.yaml"

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
