"""The queue of jobs whose files go to MLflow: an entry an attempt, in a folder of this machine and MLflow's address.

One process a folder, :mod:`pacavit.tracking.uploader`, serves all jobs of a project that run on this machine, so that
MLflow is imported once and not by every job. A job adds its entry and sees to it that the uploader runs.
"""

from __future__ import annotations

import hashlib
import json
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
from pacavit.files import write_json
from pacavit.redaction import without_passwords

#: How far MLflow is with a job, in its work folder.
STATE = "synced.json"

# Between two looks of a running job at whether the uploader is alive.
_CHECK_SECONDS = 10.0


def tracking_uri() -> str:
    """Return where runs go: as MLflow's own variable says, else the database that ``mlflow ui`` opens by itself."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path(paths.TRACKING_DATABASE).resolve()}"


def shown_uri() -> str:
    """Return where runs go as it may be printed and written down: without name and password."""
    return without_passwords(tracking_uri())


def is_local() -> bool:
    """Return whether runs go to a database file, which is never away."""
    return tracking_uri().startswith("sqlite:///")


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
        write_json(self._path, {"work": str(work), "process": os.getpid()})
        self.ensure_uploader()

    def ensure_uploader(self) -> None:
        """Start the uploader unless it runs; cheap enough to be called for every point that is logged."""
        if time.monotonic() - self._checked < _CHECK_SECONDS:
            return
        self._checked = time.monotonic()
        with suppress(Timeout), lock(self._folder).acquire(timeout=0):
            _start_uploader(self._folder)

    def wait(self, patience: float) -> bool:
        """Wait until the uploader is done with this attempt; return whether MLflow has all of it.

        Args:
            patience: at most, in seconds.
        """
        until = time.monotonic() + patience
        self._checked = float("-inf")
        while self._path.exists() and time.monotonic() < until:
            self.ensure_uploader()
            time.sleep(0.05)
        return completed(self._work) == self._start


def completed(work: Path) -> float | None:
    """Return the start of the last attempt that MLflow has all of."""
    with suppress(FileNotFoundError, ValueError):
        return json.loads((work / STATE).read_text()).get("complete")
    return None


def entries(folder: Path) -> dict[Path, dict[str, Any]]:
    """Return what a queue holds, by the entries' files."""
    found = {}
    for path in folder.glob("[!.]*.json"):  # one that is being written has a name with a dot
        # Another process may have removed it since.
        with suppress(FileNotFoundError, ValueError):
            found[path] = json.loads(path.read_text())
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
