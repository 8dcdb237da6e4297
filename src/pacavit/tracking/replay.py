"""Hands the files of jobs to MLflow; a second call with nothing new does nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# A server that does not answer is asked again at the next round, not for minutes at once.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
# A machine without internet would wait for it at every job.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from pacavit.errors import PacavitError
from pacavit.files import write_json
from pacavit.paths import TRACKING_DATABASE
from pacavit.redaction import without_passwords
from pacavit.tracking import ARTIFACTS, INFO, METRICS, MODEL, read_lines
from pacavit.tracking.home import move_in
from pacavit.tracking.queue import STATE, shown_uri, tracking_uri
from pacavit.tracking.reproduction import PARENT, open_parent, update_parent

_FINGERPRINT = "pacavit.fingerprint"
#: Of a work folder, so that no other one adds to its run.
_IDENTITY = "pacavit.work"
#: MLflow's own bounds on one request and on the length of a parameter.
_BATCH, _LONGEST = 500, 500


def set_address() -> None:
    """Let MLflow's own parts that take no client, such as its monitor of the machine, upload to the same place."""
    mlflow.set_tracking_uri(tracking_uri())


def open_client() -> MlflowClient:
    """Return a client, after the database, if it is a local one, has its tables.

    First connections to an empty SQLite database at once break it, so one process at a time makes them.
    """
    uri = tracking_uri()
    if not uri.startswith("sqlite:///"):
        return MlflowClient(uri)
    with FileLock(f"{uri.removeprefix('sqlite:///')}.lock"):
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
        database = Path(uri.removeprefix("sqlite:///"))
        if database == Path(TRACKING_DATABASE).absolute():
            move_in(database)
    return client


def sync(client: MlflowClient, folder: Path) -> str:
    """Hand over what MLflow has not got yet of a job; a second call with nothing new does nothing.

    Returns:
        The run's id.
    """
    with FileLock(folder / "sync.lock"):
        info = json.loads((folder / INFO).read_text())
        state = _read_state(folder)
        if state["run"] is not None and _find_run(client, state["run"]) is None:
            state = _new_state()
        if state["run"] is None:
            state["run"] = _open_run(client, info)
            write_json(folder / STATE, state)
        _send_metrics(client, folder, state)
        _send_artifacts(client, folder, state)
        _send_status(client, folder, state, info)
        _send_model(client, folder, state, info)
        if info["status"] != "RUNNING" and state["complete"] != info["start"]:
            state["complete"] = info["start"]
            write_json(folder / STATE, state)
    return state["run"]


def sync_all() -> int:
    """Hand over every job below ``work/``; return how many there are.

    Raises:
        PacavitError: MLflow does not answer, or a job could not be handed over; the others are all the same.
    """
    folders = sorted(path.parent for path in Path("work").glob(f"*/*/{INFO}"))
    if not folders:
        return 0
    try:
        client = open_client()
        client.search_experiments(max_results=1)
    except Exception as error:
        raise PacavitError(
            f"{shown_uri()}: MLflow cannot be reached ({told(error)}); "
            "start it or correct MLFLOW_TRACKING_URI, then run `pacavit sync` again"
        ) from error
    faults = []
    for folder in folders:
        try:
            sync(client, folder)
        except Exception as error:
            faults.append(f"{folder} ({told(error)})")
    if faults:
        raise PacavitError(
            f"{', '.join(faults)}: not handed to MLflow, unlike the other {len(folders) - len(faults)} runs; "
            "mend or move away what is named, then run `pacavit sync` again"
        )
    return len(folders)


def _new_state() -> dict[str, Any]:
    return {
        "uri": shown_uri(),
        "run": None,
        "metrics": 0,
        "artifacts": [],
        "status": None,
        "model": None,
        "complete": None,
    }


def _read_state(folder: Path) -> dict[str, Any]:
    """Return how far MLflow is; another server than last time begins anew."""
    new = _new_state()
    try:
        old = json.loads((folder / STATE).read_text())
    except (FileNotFoundError, ValueError):
        return new
    return old if old.keys() == new.keys() and old["uri"] == new["uri"] else new


def _find_run(client: MlflowClient, run_id: str) -> Run | None:
    """Return a run, unless MLflow has it no more or in its bin."""
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return run if run.info.lifecycle_stage == LifecycleStage.ACTIVE else None


def _open_run(client: MlflowClient, info: Mapping[str, Any]) -> str:
    """Return the job's run, with its parameters: the one that its work folder has begun, or a new one."""
    start = _milliseconds(info["start"])
    parent = open_parent(client, info["scale"], start).info
    number = parent.experiment_id
    wanted = f"tags.`{_IDENTITY}` = '{info['id']}' and tags.`{PARENT}` = '{parent.run_id}'"
    found = client.search_runs([number], wanted, max_results=1)
    # The tags come with the run, so that a kill in between leaves none that is not found again.
    run = (
        found[0]
        if found
        else client.create_run(number, start, {**_tags(info), PARENT: parent.run_id}, run_name=info["job"])
    )
    params = [
        Param(key, str(value)[:_LONGEST])
        for key, value in _flat(info["params"])
        if key not in run.data.params
    ]
    for first in range(0, len(params), 100):
        client.log_batch(run.info.run_id, params=params[first : first + 100])
    return run.info.run_id


def _send_metrics(client: MlflowClient, folder: Path, state: dict[str, Any]) -> None:
    records = read_lines(folder / METRICS)
    new = records[state["metrics"] :]
    for first in range(0, len(new), 20):
        chunk = new[first : first + 20]
        points = [
            Metric(name.replace("@", "_at_"), value, _milliseconds(record["time"]), record["step"])
            for record in chunk
            for name, value in record["metrics"].items()
        ]
        for begin in range(0, len(points), _BATCH):
            client.log_batch(state["run"], metrics=points[begin : begin + _BATCH])
        state["metrics"] += len(chunk)
        write_json(folder / STATE, state)


def _send_artifacts(client: MlflowClient, folder: Path, state: dict[str, Any]) -> None:
    for record in read_lines(folder / ARTIFACTS):
        path = Path(record["path"])
        # A file that was written again is sent again.
        known = [str(path), path.stat().st_mtime_ns] if path.exists() else None
        if known is not None and known not in state["artifacts"]:
            client.log_artifact(state["run"], str(path))
            state["artifacts"].append(known)
            write_json(folder / STATE, state)


def _send_status(client: MlflowClient, folder: Path, state: dict[str, Any], info: Mapping[str, Any]) -> None:
    status = [info["status"], info["start"]]
    if state["status"] == status:
        return
    # A later attempt may be of another commit, and gets over an earlier one's error.
    error = {"error": info["error"][:_LONGEST]} if info.get("error") else {}
    tags = {**_tags(info), **error}
    client.log_batch(state["run"], tags=[RunTag(key, value) for key, value in tags.items()])
    before = client.get_run(state["run"]).data.tags
    if not error and "error" in before:
        client.delete_tag(state["run"], "error")
    end = None if info["status"] == "RUNNING" else _milliseconds(info["end"])
    if end is None:
        client.update_run(state["run"], status="RUNNING")
    else:
        client.set_terminated(state["run"], info["status"], end)
    parent = update_parent(client, info["scale"], _milliseconds(info["start"]), end).info.run_id
    if before.get(PARENT) != parent:
        client.set_tag(state["run"], PARENT, parent)
    state["status"] = status
    write_json(folder / STATE, state)


def _send_model(client: MlflowClient, folder: Path, state: dict[str, Any], info: Mapping[str, Any]) -> None:
    if not (folder / MODEL).exists():
        return
    noted = json.loads((folder / MODEL).read_text())
    weights = Path(noted["weights"])
    known = [str(weights), weights.stat().st_mtime_ns] if weights.exists() else None
    if known is None or known == state["model"]:
        return
    # Few jobs have a model, and all wait for what is imported here.
    from pacavit.tracking.registration import model_name, register

    name = model_name(info["scale"], _stage(info), info["names"])
    run = client.get_run(state["run"])
    register(client, run, name, weights, noted["description"], _names(info), folder / "model")
    state["model"] = known
    write_json(folder / STATE, state)


def _tags(info: Mapping[str, Any]) -> dict[str, str]:
    data = {f"data.{name}": digest for name, digest in info["data"].items()}
    commit = {"mlflow.source.git.commit": info["commit"]} if info["commit"] else {}
    own = {_FINGERPRINT: info["fingerprint"], _IDENTITY: info["id"]}
    tags = {**own, **data, **commit, "mlflow.source.name": info["command"]}
    return {**_names(info), **tags}


def _names(info: Mapping[str, Any]) -> dict[str, str]:
    names = {"job": info["job"], "stage": _stage(info), "scale": info["scale"], **info["names"]}
    return {key: str(value) for key, value in names.items()}


def _stage(info: Mapping[str, Any]) -> str:
    return info["job"].split("@")[0]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}{key.replace(':', '.')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def told(error: Exception) -> str:
    """Return an error as a line that may be written down."""
    return without_passwords(" ".join(f"{type(error).__name__}: {error}".split()))[:300]
