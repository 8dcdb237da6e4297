"""Keeps the states of Snakemake and DVC in step, so that after either ran the other has nothing to do.

Every finished job leaves a mark with the parameters it used. When Snakemake ends, DVC commits exactly the marked jobs.
When Snakemake starts and something else, such as ``dvc repro``, ``dvc pull`` or ``dvc checkout``, changed outputs
meanwhile, DVC is asked which jobs are up to date, and Snakemake's records are brought in line.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pacavit import params, paths, stages
from pacavit.errors import PacavitError
from pacavit.files import write_json

#: Holds the names of jobs that Snakemake is to run again; set for the call that renews its records.
_STALE = "PACAVIT_STALE_JOBS"
_LOCKS = Path(".snakemake/locks")
_STAMP = Path(".snakemake/pacavit-outputs.json")
_DVC_LOCK = Path("dvc.lock")


def start(scale: str) -> None:
    """Bring Snakemake's records in line with what changed since it last ran; called before the DAG is built.

    Nothing happens at other scales than the one that ``dvc.yaml`` versions, outside a repository of DVC, and while
    another Snakemake is at work.
    """
    if not _versioned(scale) or _STALE in os.environ or _at_work():
        return
    given = params.load(scale)
    _commit(scale, given)
    outputs = _outputs(scale, given)
    if not any(Path(path).exists() for path in outputs if not path.startswith("reports/")):
        return
    if not _STAMP.exists() or json.loads(_STAMP.read_text()) != _state(outputs):
        _renew_records(scale, given)
        write_json(_STAMP, _state(outputs))


def finish(scale: str) -> None:
    """Commit to DVC what this run of Snakemake did; called when it ends, well or not."""
    if not _versioned(scale):
        return
    given = params.load(scale)
    _commit(scale, given)
    write_json(_STAMP, _state(_outputs(scale, given)))


def stale_jobs() -> list[str]:
    """Return the jobs whose recorded parameters shall not equal the real ones."""
    return json.loads(os.environ.get(_STALE, "[]"))


def _versioned(scale: str) -> bool:
    return scale == params.DEFAULT_SCALE and Path(".dvc").is_dir()


def _at_work() -> bool:
    return _LOCKS.is_dir() and any(_LOCKS.iterdir())


def _outputs(scale: str, given: params.Params) -> list[str]:
    return [path for job in stages.jobs(given.targets) for path in stages.written(job[0], scale, job[1])]


def _state(outputs: Sequence[str]) -> dict[str, Any]:
    """Return what changes when anything but Snakemake writes an output."""
    found = {}
    for path in outputs:
        if Path(path).exists():
            status = Path(path).stat()
            found[path] = [status.st_mtime_ns, status.st_size]
    lock = hashlib.sha256(_DVC_LOCK.read_bytes()).hexdigest() if _DVC_LOCK.exists() else None
    return {"outputs": found, "dvc.lock": lock}


def _commit(scale: str, given: params.Params) -> None:
    """Commit the marked jobs whose parameters still hold and whose outputs are there; forget the marks."""
    folder = paths.path(paths.MARK, job="any").parent
    marks = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    jobs = [mark["job"] for mark in marks if _holds(mark, scale, given)]
    if jobs:
        _dvc("--wait-for-lock", "commit", "--quiet", "--force", "--no-relink", *jobs)
    for path in folder.glob("*.json"):
        path.unlink()


def _holds(mark: dict[str, Any], scale: str, given: params.Params) -> bool:
    stage, names = mark["stage"], mark["names"]
    if mark["scale"] != scale or (stage, names) not in stages.jobs(given.targets):
        return False
    spec = stages.STAGES[stage]
    if params.select(given, spec.params, **names) != mark["params"]:
        return False
    return all(Path(path).exists() for path in stages.written(stage, scale, names))


def _renew_records(scale: str, given: params.Params) -> None:
    """Let Snakemake record every output as it is, and the stale jobs as run with other parameters."""
    stale = {name.removeprefix("dvc.yaml:") for name in json.loads(_dvc("status", "--json"))}
    missing = []
    for stage, names in stages.jobs(given.targets):
        written = stages.written(stage, scale, names)
        if not all(Path(path).exists() for path in written):
            missing.extend(written)
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nolock", "--touch", "--forceall"]
    command += ["--ignore-incomplete"]
    if missing:
        command += ["--omit-from", *missing]
    command += ["--quiet", "all"]
    environment = {**os.environ, _STALE: json.dumps(sorted(stale))}
    # A list without a shell; its paths are built of checked names.
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise PacavitError(f"snakemake could not renew its records: {_last_line(result.stderr)}")


def _dvc(*arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    # A list without a shell; its jobs are of checked names.
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise PacavitError(
            f"`dvc {' '.join(arguments[:2])}` failed: {_last_line(result.stderr)}; try it by hand"
        )
    return result.stdout


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "(it said nothing)"
