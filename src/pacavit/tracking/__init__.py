"""Tracking: what a job measures goes to local files first; one process for all jobs uploads them to MLflow.

So a server that is slow, down or back again never stops a job and loses no point. :mod:`pacavit.tracking.uploader` is
that process; it and ``pacavit sync`` alone import MLflow.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pacavit.errors import PacavitError, TrainingInterruptedError
from pacavit.files import content_hash, json_object, write_json
from pacavit.redaction import without_passwords
from pacavit.runtime.distributed import is_main
from pacavit.runtime.environment import seconds
from pacavit.tracking import queue

#: What results follow from, below a project's root.
SOURCES = ("src", "params", "claims", "workflow", "Snakefile", "requirements.lock", "pyproject.toml")

METRICS = "metrics.jsonl"
ARTIFACTS = "artifacts.jsonl"
MODEL = "model.json"
INFO = "run.json"
# Of whoever runs the job, and of whoever uploads its files.
_LOCKS = ("lock", "sync.lock")
#: ``off`` leaves MLflow out; the files are written all the same.
SWITCH = "PACAVIT_TRACKING"
#: How long a finished job waits for its last points to reach MLflow, in seconds.
PATIENCE = "PACAVIT_TRACKING_PATIENCE"
#: A server may be away. A local database is not, though it may be busy: the wait ends as soon as the upload does.
_SERVER_SECONDS, _LOCAL_SECONDS = 20.0, 900.0


class Run:
    """What one job measured, kept in its work folder.

    A line of ``metrics.jsonl`` is an object ``{"step": int, "time": float, "metrics": {name: value}}``. A job that
    goes on after an interruption repeats steps; what is in the file already is not written again.

    Args:
        folder: where the files are; None keeps nothing, for the ranks that do not report.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.upload: queue.Entry | None = None
        if folder is not None:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self._logged = {
                (record["step"], name)
                for record in read_lines(folder / METRICS)
                for name in record["metrics"]
            }

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Append metrics of one step; MLflow shows them by names as :mod:`pacavit.tracking.keys` tells."""
        if self.folder is None:
            return
        new = {name: float(value) for name, value in metrics.items() if (step, name) not in self._logged}
        if new:
            _append(self.folder / METRICS, {"step": step, "time": time.time(), "metrics": new})
            self._logged.update((step, name) for name in new)
        if self.upload is not None:
            self.upload.ensure_uploader()

    def artifact(self, path: Path) -> None:
        """Note a file, by its final name, that MLflow shall show with this run."""
        if self.folder is not None:
            _append(self.folder / ARTIFACTS, {"path": str(path)})

    def model(self, weights: Path, description: Mapping[str, Any]) -> None:
        """Note a run's final weights, by their final name, that MLflow shall offer as a model.

        Args:
            weights: safetensors.
            description: plain values, as :mod:`pacavit.tracking.served` tells.
        """
        if self.folder is not None:
            write_json(self.folder / MODEL, {"weights": str(weights), "description": dict(description)})

    def history(self) -> list[dict[str, Any]]:
        """Return what was logged as ``{"step": …, name: value, …}``, in order of the steps."""
        steps: dict[int, dict[str, Any]] = {}
        for record in read_lines(self.folder / METRICS) if self.folder is not None else []:
            steps.setdefault(record["step"], {"step": record["step"]}).update(record["metrics"])
        return [steps[step] for step in sorted(steps)]


@contextmanager
def start_run(
    job: str,
    scale: str,
    names: Mapping[str, str | int],
    values: Mapping[str, Any],
    fingerprint: str,
    code: str,
    inputs: Mapping[str, Path],
    work: Path,
) -> Iterator[Run]:
    """Open the run of a job and close it as finished or failed; meanwhile its files go to MLflow.

    A job that runs again goes on in its run, but with other code it has a new one.

    Args:
        job: name of the job, which is the run's.
        scale, names, values, fingerprint: what tells it from other jobs.
        code: digest of its code.
        inputs: files and prepared folders it reads, whose hashes are noted.
        work: its work folder.

    Raises:
        PacavitError: :data:`PATIENCE` is not a number.
    """
    if not is_main():
        yield Run(None)
        return
    patience = seconds(PATIENCE, _LOCAL_SECONDS if queue.is_local() else _SERVER_SECONDS, zero=True)
    _begin_anew(work, code)
    run = Run(work)
    info = {
        "id": _identity(work),
        "job": job,
        "scale": scale,
        "names": dict(names),
        "params": dict(values),
        "fingerprint": fingerprint,
        "code": code,
        "data": {name: content_hash(path) for name, path in inputs.items()},
        "commit": git_commit(),
        "experiment": os.environ.get("DVC_EXP_NAME"),
        "command": without_passwords(" ".join(["pacavit", *sys.argv[1:]])),
        "process": os.getpid(),
        "start": time.time(),
        "status": "RUNNING",
    }
    write_json(work / INFO, info)
    run.upload = None if os.environ.get(SWITCH) == "off" else queue.Entry(work, info["start"])
    status, error = "FAILED", None
    try:
        yield run
        status = "FINISHED"
    except BaseException as caught:
        status = "KILLED" if isinstance(caught, (KeyboardInterrupt, TrainingInterruptedError)) else "FAILED"
        error = without_passwords(f"{type(caught).__name__}: {caught}")
        raise
    finally:
        write_json(work / INFO, {**info, "status": status, "error": error, "end": time.time()})
        if run.upload is not None:
            told = _not_there(work, info, run.upload.wait(patience))
            if told is not None:
                print(told, file=sys.stderr)


def _not_there(work: Path, info: Mapping[str, Any], complete: bool) -> str | None:
    """Return what to tell of a job that MLflow has not got all of, None if there is nothing to tell."""
    if complete:
        return queue.shown_refusals(work)
    fault = queue.last_fault(work, info["start"])
    reason = f" ({fault})" if fault else ""
    kept = work if queue.project() == Path.cwd() else _kept(work, info)
    return f"tracking: MLflow has not got all of {kept}{reason}; run `pacavit sync` when it can be reached"


def _kept(work: Path, info: Mapping[str, Any]) -> Path:
    """Copy what an experiment of DVC measured into its project, for its own folder is removed at its end.

    Not the files that it made, which DVC keeps.
    """
    kept = queue.project() / "work" / work.parent.name / f"{work.name}-{info['experiment'] or info['id']}"
    kept.mkdir(parents=True, exist_ok=True)
    for name in (INFO, METRICS, queue.STATE):
        if (work / name).exists():
            shutil.copy(work / name, kept)
    return kept


def _begin_anew(work: Path, code: str) -> None:
    """Clear the work folder if other code is to run in it; a training under way goes on or is refused instead."""
    last = json_object(work / INFO)
    if "status" not in last:
        return
    if last.get("code") != code and (last["status"] == "FINISHED" or not any(work.glob("step-*.pt"))):
        for path in work.iterdir():
            if path.name not in _LOCKS:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _identity(work: Path) -> str:
    """Return what tells a work folder from all others, kept in its notes."""
    return json_object(work / INFO).get("id") or uuid.uuid4().hex


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON-lines file; a line that was cut short by a kill is left out."""
    if not Path(path).exists():
        return []
    records = []
    for line in Path(path).read_bytes().splitlines():
        # What a crash left in the line may not even be text.
        with suppress(ValueError):
            records.append(json.loads(line))
    return records


def git_commit() -> str | None:
    """Return the commit of the current folder; None outside a repository.

    It ends in ``-dirty`` after edits of what results follow from (:data:`SOURCES`), not after what runs write.
    """
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return None
    return f"{commit}-dirty" if _git("status", "--porcelain", "--", *SOURCES) else commit


def _git(*arguments: str) -> str | None:
    try:
        # Nothing of the command comes from outside.
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None  # Git is not installed
    return result.stdout.strip() or None if result.returncode == 0 else None


def _append(path: Path, record: Mapping[str, Any]) -> None:
    try:
        with open(path, "a+b") as file:
            # After a kill the last line may lack its end.
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                torn = file.read(1) != b"\n"
            else:
                torn = False
            file.write((b"\n" if torn else b"") + json.dumps(record).encode() + b"\n")
    except OSError as error:
        raise PacavitError(
            f"{path}: cannot be written ({error.strerror}); free space or choose a folder you may write to"
        ) from error
