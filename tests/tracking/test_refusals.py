"""Content that MLflow does not take: it is told, not sent again, and holds up nothing else."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from mlflow_helpers import points, replayed, runs

from pacavit import tracking
from pacavit.errors import PacavitError
from pacavit.tracking import queue, replay, uploader

pytestmark = pytest.mark.usefixtures("database")

CLASSES = ["tench, Tinca tinca", "potter's wheel", "$100 bill", "a//b", "crane", "crane\u2028", "", "x" * 400]


def test_names_of_classes_reach_mlflow_whatever_they_are(work, job):
    with job(values={"evaluate:classes": {name: number for number, name in enumerate(CLASSES)}}) as run:
        for step in range(2):
            run.log({f"per_class/{name}": 10.0 * step + n for n, name in enumerate(CLASSES)}, step)
    _, found = replayed(work)
    values = sorted(value for name, value in found.data.metrics.items() if name.startswith("per_class/"))
    assert values == [10.0 + n for n in range(len(CLASSES))]
    assert sorted(found.data.params.values()) == [str(n) for n in range(len(CLASSES))]
    assert queue.refusals(work) == {}
    assert replay.sync_all() == 1


def test_a_thousand_classes_reach_mlflow(work, job):
    with job(values={f"page:class {n}'s": n for n in range(1000)}) as run:
        run.log({f"per_class/class {n}'s/top1": float(n) for n in range(1000)}, 0)
    _, found = replayed(work)
    assert len(found.data.metrics) == len(found.data.params) == 1000


def test_two_names_that_mlflow_would_make_one_stay_two_after_a_restart(work, job):
    for step, names in enumerate((["door, wooden"], ["door; wooden"], ["door, wooden", "door; wooden"])):
        with job() as run:
            run.log({name: float(step) for name in names}, step)
        client, found = replayed(work)
    assert sorted(points(client, found, name) for name in found.data.metrics) == [[0, 2], [1, 2]]


@pytest.mark.parametrize("value", ["lone \udce4", "nul\0", "x" * 20_000])
def test_values_that_no_database_takes_hold_up_nothing(work, job, value):
    with pytest.raises(ValueError, match="broken"), job(values={"page:key": value}) as run:
        run.log({"loss": 1.0}, 0)
        raise ValueError(f"broken {value}")
    client, found = replayed(work)
    assert points(client, found) == [0]
    assert found.info.status == "FAILED"
    assert found.data.params["page.key"].startswith(value[:3])


def refuse(monkeypatch, bad: str, error: Exception | None = None) -> list[int]:
    """Let MLflow refuse every request with a given metric, parameter, tag or file; return the sizes of requests."""
    send, upload, sizes = MlflowClient.log_batch, MlflowClient.log_artifact, []
    error = error or MlflowException.invalid_parameter_value(f"{bad} is invalid")

    def log_batch(self, run_id, metrics=(), params=(), tags=()):
        sizes.append(len(metrics))
        if any(item.key == bad for item in (*metrics, *params, *tags)):
            raise error
        return send(self, run_id, metrics=metrics, params=params, tags=tags)

    def log_artifact(self, run_id, path):
        if Path(path).name == bad:
            raise error
        return upload(self, run_id, path)

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    monkeypatch.setattr(MlflowClient, "log_artifact", log_artifact)
    return sizes


def answer(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(f"{status} for url", response=response)


@pytest.mark.parametrize(
    ("bad", "item", "error"),
    [
        ("bad", "metric bad", None),
        ("page.bad", "parameter page.bad", None),
        ("variant", "tag variant", None),
        ("data.txt", "file data.txt", None),
        ("data.txt", "file data.txt", answer(413)),
    ],
)
def test_what_is_refused_is_named_and_all_else_is_there(work, job, monkeypatch, capsys, bad, item, error):
    with job(values={"page:bad": 1, "page:good": 2}) as run:
        for step in range(30):
            run.log({"loss": 1.0, "bad": 2.0}, step)
        run.artifact(Path("data.txt"))
        Path("other.txt").write_text("other")
        run.artifact(Path("other.txt"))
    with monkeypatch.context() as refusing:
        refuse(refusing, bad, error)
        client, found = replayed(work)
    assert list(queue.refusals(work)) == [item]
    assert points(client, found) == list(range(30))
    assert found.info.status == "FINISHED"
    assert found.data.params["page.good"] == "2"
    assert "other.txt" in [file.path for file in client.list_artifacts(found.info.run_id)]
    assert queue.completed(work) is not None
    # Nothing is sent again, and yet it is told.
    sent = refuse(monkeypatch, bad, error)
    assert replay.sync_all() == 1
    assert sent == []
    told = capsys.readouterr().err
    assert item in told
    assert f"MLflow refused 1 of what {work} measured" in told


def test_a_file_that_was_refused_is_sent_when_it_is_another(work, job, monkeypatch):
    with job() as run:
        run.artifact(Path("data.txt"))
    with monkeypatch.context() as refusing:
        refuse(refusing, "data.txt", answer(413))
        replayed(work)
    Path("data.txt").write_text("smaller")
    client, found = replayed(work)
    assert [file.path for file in client.list_artifacts(found.info.run_id)] == ["data.txt"]
    assert queue.refusals(work) == {}


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("away"),
        MlflowException("busy", TEMPORARILY_UNAVAILABLE),
        answer(403),
        answer(500),
        answer(503),
    ],
)
def test_a_server_that_is_away_refuses_nothing(work, job, monkeypatch, error):
    with job() as run:
        run.log({"loss": 1.0}, 0)
    with monkeypatch.context() as away, pytest.raises(type(error)):
        refuse(away, "loss", error)
        replayed(work)
    client, found = replayed(work)
    assert points(client, found) == [0]
    assert queue.refusals(work) == {}


def test_points_of_a_run_that_is_deleted_meanwhile_are_not_refused_but_sent_anew(work, job, monkeypatch):
    with job() as run:
        run.log({"loss": 1.0}, 0)
    client, found = replayed(work)
    with job() as run:
        run.log({"loss": 1.0}, 1)
    look = replay._find_run

    def look_and_delete(client, run_id):
        run = look(client, run_id)
        if run is not None:
            client.delete_run(run_id)
        return run

    with monkeypatch.context() as deleting, pytest.raises(MlflowException):
        deleting.setattr(replay, "_find_run", look_and_delete)
        replayed(work)
    client, again = replayed(work)
    assert again.info.run_id != found.info.run_id
    assert points(client, again) == [0, 1]


def test_the_job_itself_tells_what_was_refused(work, job, monkeypatch, capsys):
    """The uploader runs in this process instead of its own."""
    monkeypatch.delenv(tracking.SWITCH)
    monkeypatch.setattr(queue, "_start_uploader", lambda folder: None)
    refuse(monkeypatch, "bad")

    def wait(entry, patience):
        replay.sync(replay.open_client(), work)
        return queue.completed(work) is not None

    monkeypatch.setattr(queue.Entry, "wait", wait)
    with job() as run:
        run.log({"loss": 1.0, "bad": 1.0}, 0)
    told = capsys.readouterr().err
    assert "metric bad (MlflowException: bad is invalid)" in told
    assert "pacavit sync" not in told


def test_a_deleted_experiment_is_told_once_with_what_brings_it_back(work, job):
    for name in ("a", "b", "c", "d", "e"):
        with job(fingerprint=name, work=work.with_name(name)) as run:
            run.log({"loss": 1.0}, 0)
    assert replay.sync_all() == 5
    client = replay.open_client()
    number = client.get_experiment_by_name("pacavit-mini").experiment_id
    client.delete_experiment(number)
    with pytest.raises(PacavitError) as caught:
        replay.sync_all()
    message = str(caught.value)
    assert message.count("was deleted in MLflow") == 1
    assert f"`mlflow experiments restore -x {number}`" in message
    assert f"`mlflow gc --experiment-ids {number} --tracking-uri sqlite:///mlflow.db`" in message
    assert "and 2 more" in message
    assert "move away" not in message
    assert "\n" not in message
    client.restore_experiment(number)
    assert replay.sync_all() == 5
    assert {run.info.status for run in runs(client)} == {"FINISHED"}
    assert len(runs(client)) == 5


@pytest.mark.slow
def test_what_is_advised_for_a_deleted_experiment_works(work, job):
    with job() as run:
        run.log({"loss": 1.0}, 0)
    replay.sync_all()
    for advice in ("mlflow experiments restore", "mlflow gc"):
        client = replay.open_client()
        client.delete_experiment(client.get_experiment_by_name("pacavit-mini").experiment_id)
        with pytest.raises(PacavitError) as caught:
            replay.sync_all()
        (command,) = re.findall(f"`({advice} [^`]*)`", str(caught.value))
        subprocess.run([sys.executable, "-m", *command.split()], check=True, timeout=120)
        # A database that changes under an open client needs a client of another process.
        synced = subprocess.run(
            [sys.executable, "-m", "pacavit", "sync"], capture_output=True, text=True, timeout=120
        )
        assert "1 runs are up to date" in synced.stdout, synced.stderr
        (found,) = runs(replay.open_client())
        assert found.info.status == "FINISHED"


def test_a_job_tells_that_the_experiment_was_deleted(work, job, monkeypatch, capsys):
    monkeypatch.delenv(tracking.SWITCH)
    monkeypatch.setattr(queue, "_start_uploader", lambda folder: None)
    client = replay.open_client()
    client.delete_experiment(client.create_experiment("pacavit-mini"))

    def wait(entry, patience):
        uploader.follow(work, json.loads((work / tracking.INFO).read_text())["process"])
        return queue.completed(work) is not None

    monkeypatch.setattr(queue.Entry, "wait", wait)
    with job() as run:
        run.log({"loss": 1.0}, 0)
    told = capsys.readouterr().err
    assert "`mlflow experiments restore -x" in told
    assert "pacavit sync" in told


@pytest.mark.parametrize("name", [tracking.INFO, tracking.MODEL])
@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_damaged_file_of_a_job_is_named_and_holds_up_no_other_job(work, job, name, content):
    with job():
        pass
    with job(work=Path("work/pretrain/beef")):
        pass
    (work / name).write_text(content)
    with pytest.raises(PacavitError, match=rf"{work / name}: is damaged.*unlike the other 1 runs") as found:
        replay.sync_all()
    assert "JSONDecodeError" not in str(found.value)
    (work / name).unlink()
    assert replay.sync_all() == (1 if name == tracking.INFO else 2)


def test_the_uploader_leaves_a_job_whose_file_is_damaged(work, job):
    with job():
        pass
    (work / tracking.INFO).write_text("")
    uploader.follow(work, 1)
    assert not (work / queue.STATE).exists()
