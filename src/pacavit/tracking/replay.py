"""Hands the files of jobs to MLflow; a second call with nothing new does nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

# A server that does not answer is asked again at the next round, not for minutes at once.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
# A machine without internet would wait for it at every job.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
import requests
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH, MAX_PARAMS_TAGS_PER_BATCH, MAX_TAG_VAL_LENGTH

from pacavit.errors import PacavitError
from pacavit.files import json_object, listed, write_json
from pacavit.paths import TRACKING_DATABASE
from pacavit.redaction import without_passwords
from pacavit.tracking import ARTIFACTS, INFO, METRICS, MODEL, read_lines
from pacavit.tracking.home import move_in
from pacavit.tracking.keys import keys, text
from pacavit.tracking.queue import STATE, database, project, shown_refusals, shown_uri, tracking_uri
from pacavit.tracking.reproduction import PARENT, open_parent, update_parent

_FINGERPRINT = "pacavit.fingerprint"
#: Of a work folder, so that no other one adds to its run.
_IDENTITY = "pacavit.work"
#: Points in one request: half of what MLflow takes.
_BATCH = 500
#: Characters of an error that are shown.
_ERROR = 500
#: What a server answers when it is the content that it does not take, as code of MLflow and as status of HTTP.
_REFUSALS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST"}
_REFUSING_STATUSES = {400, 411, 413, 414, 415, 422}

T = TypeVar("T")


def set_address() -> None:
    """Let MLflow's own parts that take no client, such as its monitor of the machine, upload to the same place."""
    mlflow.set_tracking_uri(tracking_uri())


def open_client() -> MlflowClient:
    """Return a client, after the database, if it is a local one, has its tables.

    First connections to an empty SQLite database at once break it, so one process at a time makes them.
    """
    file = database()
    if file is None:
        return MlflowClient(tracking_uri())
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock"):
        client = MlflowClient(tracking_uri())
        client.search_experiments(max_results=1)
        if file == project() / TRACKING_DATABASE:
            move_in(file)
    return client


def sync(client: MlflowClient, folder: Path) -> str:
    """Hand over what MLflow has not got yet of a job; a second call with nothing new does nothing.

    What MLflow refuses for its content is noted in the job's state, with the reason, and not sent again.

    Returns:
        The run's id.
    """
    with FileLock(folder / "sync.lock"):
        info = _read(folder / INFO)
        state = _read_state(folder)
        if state["run"] is not None and _find_run(client, state["run"]) is None:
            state = _new_state()
        if state["run"] is None:
            state["run"] = _open_run(client, info)
            write_json(folder / STATE, state)
        _send_params(client, folder, state, info)
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
    faults: dict[str, list[str]] = {}
    for folder in folders:
        try:
            sync(client, folder)
        except Exception as error:
            faults.setdefault(told(error), []).append(str(folder))
        if refused := shown_refusals(folder):
            print(refused, file=sys.stderr)
    if faults:
        missed = sum(map(len, faults.values()))
        named = ", ".join(f"{listed(runs, most=3)} ({reason})" for reason, runs in faults.items())
        raise PacavitError(
            f"{named}: not handed to MLflow, unlike the other {len(folders) - missed} runs; "
            "mend what is named, then run `pacavit sync` again; nothing is lost until then"
        )
    return len(folders)


def _new_state() -> dict[str, Any]:
    return {
        "uri": shown_uri(),
        "run": None,
        "params": False,
        "metrics": 0,
        "artifacts": [],
        "status": None,
        "model": None,
        "complete": None,
        "refused": {},
    }


def _read(path: Path) -> dict[str, Any]:
    content = json_object(path)
    if not content:
        raise PacavitError(f"{path}: is damaged, as after a crash; run its stage again, or remove the file")
    return content


def _read_state(folder: Path) -> dict[str, Any]:
    """Return how far MLflow is; another server than last time begins anew."""
    new, old = _new_state(), json_object(folder / STATE)
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
    """Return the job's run: the one that its work folder has begun, or a new one."""
    start = _milliseconds(info["start"])
    parent = open_parent(client, info["scale"], start).info
    number = parent.experiment_id
    wanted = f"tags.`{_IDENTITY}` = '{info['id']}' and tags.`{PARENT}` = '{parent.run_id}'"
    found = client.search_runs([number], wanted, max_results=1)
    if found:
        return found[0].info.run_id
    # The tags come with the run, so that a kill in between leaves none that is not found again.
    tags = {**_tags(info), PARENT: parent.run_id}
    return client.create_run(number, start, tags, run_name=info["job"]).info.run_id


def _send_params(client: MlflowClient, folder: Path, state: dict[str, Any], info: Mapping[str, Any]) -> None:
    if state["params"]:
        return
    known = client.get_run(state["run"]).data.params
    values = list(_flat(info["params"]))
    names = keys(name for name, _ in values)
    params = [Param(names[name], text(value, MAX_PARAM_VAL_LENGTH)) for name, value in values]
    params = [param for param in params if param.key not in known]
    for first in range(0, len(params), MAX_PARAMS_TAGS_PER_BATCH):
        batch = params[first : first + MAX_PARAMS_TAGS_PER_BATCH]
        for param, error in _refused(
            batch, lambda some: client.log_batch(state["run"], params=some), client, state
        ):
            _note(folder, state, f"parameter {param.key}", error)
    state["params"] = True
    write_json(folder / STATE, state)


def _send_metrics(client: MlflowClient, folder: Path, state: dict[str, Any]) -> None:
    records = read_lines(folder / METRICS)
    names = keys(name for record in records for name in record["metrics"])
    new = records[state["metrics"] :]
    for first in range(0, len(new), 20):
        chunk = new[first : first + 20]
        points = [
            Metric(names[name], value, _milliseconds(record["time"]), record["step"])
            for record in chunk
            for name, value in record["metrics"].items()
        ]
        for begin in range(0, len(points), _BATCH):
            batch = points[begin : begin + _BATCH]
            for point, error in _refused(
                batch, lambda some: client.log_batch(state["run"], metrics=some), client, state
            ):
                _note(folder, state, f"metric {point.key}", error)
        state["metrics"] += len(chunk)
        write_json(folder / STATE, state)


def _send_artifacts(client: MlflowClient, folder: Path, state: dict[str, Any]) -> None:
    for record in read_lines(folder / ARTIFACTS):
        path = Path(record["path"])
        # A file that was written again is sent again.
        known = [str(path), path.stat().st_mtime_ns] if path.exists() else None
        if known is not None and known not in state["artifacts"]:
            state["refused"].pop(f"file {path}", None)
            for file, error in _refused(
                [path], lambda some: client.log_artifact(state["run"], str(some[0])), client, state
            ):
                _note(folder, state, f"file {file}", error)
            state["artifacts"].append(known)
            write_json(folder / STATE, state)


def _refused(
    items: Sequence[T], send: Callable[[Sequence[T]], Any], client: MlflowClient, state: Mapping[str, Any]
) -> Iterator[tuple[T, Exception]]:
    """Send items, and yield those that MLflow refuses for their content: it takes all of a request or nothing.

    Raises:
        Exception: MLflow is away, or takes nothing for this run any more.
    """
    if not items:
        return
    try:
        send(items)
    except Exception as error:
        if not _is_refusal(error):
            raise
        if len(items) == 1:
            if _find_run(client, state["run"]) is None:
                raise  # it was deleted meanwhile, and nothing is wrong with the item
            yield items[0], error
            return
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]):
            yield from _refused(half, send, client, state)


def _is_refusal(error: Exception) -> bool:
    """Return whether it is the content that MLflow does not take, so that to send it again is in vain."""
    if isinstance(error, MlflowException):
        return error.error_code in _REFUSALS
    response = error.response if isinstance(error, requests.HTTPError) else None
    return response is not None and response.status_code in _REFUSING_STATUSES


def _note(folder: Path, state: dict[str, Any], item: str, error: Exception) -> None:
    state["refused"][item] = told(error)
    write_json(folder / STATE, state)


def _send_status(client: MlflowClient, folder: Path, state: dict[str, Any], info: Mapping[str, Any]) -> None:
    status = [info["status"], info["start"]]
    if state["status"] == status:
        return
    # A later attempt may be of another commit, and gets over an earlier one's error.
    error = {"error": text(info["error"], _ERROR)} if info.get("error") else {}
    tags = [RunTag(key, value) for key, value in {**_tags(info), **error}.items()]
    for tag, fault in _refused(tags, lambda some: client.log_batch(state["run"], tags=some), client, state):
        _note(folder, state, f"tag {tag.key}", fault)
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
    noted = _read(folder / MODEL)
    weights = Path(noted["weights"])
    known = [str(weights), weights.stat().st_mtime_ns] if weights.exists() else None
    if known is None or known == state["model"]:
        return
    # Few jobs have a model, and all wait for what is imported here.
    from pacavit.tracking.registration import model_name, register

    name = model_name(info["scale"], _stage(info), info["names"])
    run = client.get_run(state["run"])
    state["refused"].pop(f"model {name}", None)
    try:
        register(client, run, name, weights, noted["description"], _names(info), folder / "model")
    except MlflowException as error:
        # A server before MLflow 3.0 knows no models of runs.
        if not _is_refusal(error) and error.error_code != "ENDPOINT_NOT_FOUND":
            raise
        _note(folder, state, f"model {name}", error)
    state["model"] = known
    write_json(folder / STATE, state)


def _tags(info: Mapping[str, Any]) -> dict[str, str]:
    data = {f"data.{name}": digest for name, digest in info["data"].items()}
    commit = {"mlflow.source.git.commit": info["commit"]} if info["commit"] else {}
    own = {_FINGERPRINT: info["fingerprint"], _IDENTITY: info["id"]}
    # Its name in DVC, by which `dvc exp` takes and removes it.
    experiment = {"dvc.experiment": info["experiment"]} if info.get("experiment") else {}
    tags = {**_names(info), **own, **experiment, **data, **commit, "mlflow.source.name": info["command"]}
    return {key: text(value, MAX_TAG_VAL_LENGTH) for key, value in tags.items()}


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
    # An error of this project says what to do, and needs no name.
    whole = str(error) if isinstance(error, PacavitError) else f"{type(error).__name__}: {error}"
    return without_passwords(" ".join(whole.split()))[: None if isinstance(error, PacavitError) else 300]
