"""The queue of jobs whose files go to MLflow: an entry an attempt, in a folder of this machine and MLflow's address.

One process a folder, :mod:`pacavit.tracking.uploader`, serves all jobs of a project that run on this machine, so that
MLflow is imported once and not by every job. A job adds its entry and sees to it that the uploader runs.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pacavit import paths
from pacavit.files import json_object, write_json
from pacavit.redaction import without_passwords

#: How far MLflow is with a job, in its work folder, and why not farther.
STATE = "synced.json"
FAULTS = "tracking.log"

_SQLITE = "sqlite:///"
#: Schemes of databases that MLflow writes to itself.
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
#: Where DVC puts the folders of experiments, in a project.
_EXPERIMENTS = (".dvc", "tmp", "exps")

# Between two looks of a running job at whether the uploader is alive.
_CHECK_SECONDS = 10.0
# Looks in a row of a job that has ended which find none: it cannot be started.
_MOST_STARTS = 6


def project() -> Path:
    """Return the project's folder; of an experiment of DVC in a folder of its own, the project that it is of.

    ``dvc exp run --temp`` and ``--queue`` work in copies below ``.dvc/tmp/exps/``, which are removed at their end.
    """
    here = Path.cwd()
    return next((up.parents[2] for up in here.parents if up.parts[-3:] == _EXPERIMENTS), here)


def tracking_uri() -> str:
    """Return where runs go: as MLflow's own variable says, else the database that ``mlflow ui`` opens by itself.

    A database whose path is not a whole one is in the project.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        return _address(_default_database())
    path = uri.removeprefix(_SQLITE)
    inside = (
        uri.startswith(_SQLITE) and path[:1].isalnum() and "?" not in path and not path.startswith("file:")
    )
    return _address(project() / path) if inside else uri


def _default_database() -> Path:
    return (project() / paths.TRACKING_DATABASE).resolve()


def _address(file: Path) -> str:
    """Return the address of a database file; where a ``?`` would begin options, SQLite itself is to read the path."""
    return f"sqlite+pysqlite:///{file.as_uri()}?uri=true" if "?" in str(file) else f"{_SQLITE}{file}"


def shown_uri() -> str:
    """Return where runs go as it may be printed and written down: without name and password."""
    return without_passwords(tracking_uri())


def scheme() -> str:
    """Return how the address begins, without a database's driver; empty if it is a path."""
    before, colon, _ = tracking_uri().partition(":")
    return before.partition("+")[0].lower() if colon and "/" not in before else ""


def is_local() -> bool:
    """Return whether runs go to a file or folder of this machine, which is never away."""
    return scheme() in ("sqlite", "file", "")


def database() -> Path | None:
    """Return the file of a local database, None if runs go elsewhere."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        return _default_database()
    # A whole path stays as it is.
    return project() / uri.removeprefix(_SQLITE).partition("?")[0] if uri.startswith(_SQLITE) else None


def artifact_location(name: str) -> str | None:
    """Return where the files of a new experiment go, None if MLflow's server decides that.

    Args:
        name: of the experiment.
    """
    if scheme() not in DATABASES:
        return None
    # An address, for MLflow takes the signs of a plain path as those of one.
    return (project() / "mlruns" / name).as_uri()


class Entry:
    """One attempt of a job in the queue.

    Args:
        work: the job's work folder, which holds its files.
        start: of the attempt, seconds since 1970.
    """

    def __init__(self, work: Path, start: float) -> None:
        self._work = work
        self._start = start
        self._folder = Path("work", "uploads", _name())
        self._path = self._folder / f"{work.name}-{time.time_ns()}.json"
        self._checked = float("-inf")
        self._starts = 0
        write_json(self._path, {"work": str(work), "process": os.getpid()})
        self.ensure_uploader()

    def ensure_uploader(self) -> None:
        """Start the uploader unless it runs; cheap enough to be called for every point that is logged."""
        if time.monotonic() - self._checked < _CHECK_SECONDS:
            return
        self._checked = time.monotonic()
        try:
            with lock(self._folder).acquire(timeout=0):
                _start_uploader(self._folder)
                self._starts += 1
        except Timeout:
            self._starts = 0

    def wait(self, patience: float) -> bool:
        """Wait until the uploader is done with this attempt or cannot be started; return whether MLflow has all of it.

        Args:
            patience: at most, in seconds.
        """
        until = time.monotonic() + patience
        self._checked, self._starts = float("-inf"), 0
        while self._path.exists() and time.monotonic() < until and self._starts < _MOST_STARTS:
            self.ensure_uploader()
            time.sleep(0.05)
        return completed(self._work) == self._start


def completed(work: Path) -> float | None:
    """Return the start of the last attempt that MLflow has all of."""
    return json_object(work / STATE).get("complete")


def last_fault(work: Path, since: float) -> str | None:
    """Return what last kept the uploader from handing over a job, None if nothing has since a time in seconds."""
    with suppress(FileNotFoundError, IndexError):
        if (work / FAULTS).stat().st_mtime >= since:
            return (work / FAULTS).read_text().splitlines()[-1].partition(" ")[2]
    return None


def refusals(work: Path) -> dict[str, str]:
    """Return what MLflow has refused of a job for its content, with the reasons."""
    return json_object(work / STATE).get("refused", {})


def shown_refusals(work: Path, most: int = 3) -> str | None:
    """Return a line that tells what MLflow has refused of a job, None if nothing.

    Args:
        work: the job's work folder.
        most: number of items that are named.
    """
    found = refusals(work)
    if not found:
        return None
    named = "; ".join(f"{item} ({reason})" for item, reason in list(found.items())[:most])
    more = f"; {len(found) - most} more in {work / STATE}" if len(found) > most else ""
    return f"tracking: MLflow refused {len(found)} of what {work} measured and has the rest: {named}{more}"


def entries(folder: Path) -> dict[Path, dict[str, Any]]:
    """Return what a queue holds, by the entries' files."""
    found = {}
    for path in folder.glob("[!.]*.json"):  # one that is being written has a name with a dot
        # Another process may have removed it since.
        if entry := json_object(path):
            found[path] = entry
    return found


def lock(folder: Path) -> FileLock:
    """Return the lock that the process which serves a queue holds."""
    return FileLock(folder / "lock")


def _name() -> str:
    """Return what tells queues apart: jobs of another machine or address need an uploader of their own."""
    address = hashlib.sha256(shown_uri().encode()).hexdigest()[:8]
    return f"{socket.gethostname()}-{address}"


def _start_uploader(folder: Path) -> None:
    with open(folder / "log", "ab") as log:
        # A list without a shell; the folder is named by this machine and a hash.
        subprocess.Popen(
            [sys.executable, "-m", "pacavit.tracking.uploader", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
