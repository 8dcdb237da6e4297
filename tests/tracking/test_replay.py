"""What a job measured reaches MLflow once, whatever happens in between."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow_helpers import free_port, get, parents, points, replayed, runs, serving, until

from pacavit import tracking
from pacavit.cli import cli
from pacavit.errors import PacavitError
from pacavit.tracking import queue, replay
from pages import change

pytestmark = pytest.mark.usefixtures("database")

#: A job of its own process: a point every half second, for some seconds or until a file named stop is there.
JOB = """
import sys, time
from pathlib import Path
from pacavit.tracking import start_run

name, seconds = sys.argv[1], float(sys.argv[2])
with start_run(f"pretrain@{name}", "mini", {"variant": name}, {}, name, "code", {}, Path("work/pretrain", name)) as run:
    for step in range(int(2 * seconds)):
        run.log({"loss": 1 / (step + 1)}, step)
        time.sleep(0.5)
        if Path("stop").exists():
            break
"""


def test_everything_of_a_job_reaches_mlflow(work, job):
    with job() as run:
        for step in range(30):
            run.log({"train/loss": 1 / (step + 1), "val/mIoU@0.5": float(step)}, step)
        run.artifact(Path("data.txt"))
    info = json.loads((work / tracking.INFO).read_text())
    client, found = replayed(work)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "pretrain@v-0")
    assert found.info.start_time == round(1000 * info["start"])
    assert found.info.end_time == round(1000 * info["end"])
    assert found.data.params == {"pretrain.recipe.lr": "0.1", "pretrain.recipe.betas": "[0.9, 0.99]"}
    assert (
        found.data.tags.items()
        >= {
            "job": "pretrain@v-0",
            "stage": "pretrain",
            "scale": "mini",
            "variant": "v",
            "seed": "0",
            "pacavit.fingerprint": "f00d",
            "data.data": info["data"]["data"],
        }.items()
    )
    history = client.get_metric_history(found.info.run_id, "train/loss")
    assert {point.step: point.value for point in history} == {step: 1 / (step + 1) for step in range(30)}
    assert points(client, found, "val/mIoU_at_0.5") == list(range(30))
    assert [item.path for item in client.list_artifacts(found.info.run_id)] == ["data.txt"]


def test_the_commit_is_the_one_of_the_last_attempt(work, job):
    for commit in ("a" * 40, "b" * 40):
        with job():
            pass
        path = work / tracking.INFO
        path.write_text(json.dumps({**json.loads(path.read_text()), "commit": commit}))
        _, found = replayed(work)
        assert found.data.tags["mlflow.source.git.commit"] == commit


def test_a_second_sync_adds_nothing(work, job):
    with job() as run:
        for step in range(30):
            run.log({"loss": 1.0}, step)
        run.artifact(Path("data.txt"))
    replayed(work)
    before = (work / queue.STATE).read_bytes(), Path("mlflow.db").read_bytes()
    client, found = replayed(work)
    assert (work / queue.STATE).read_bytes() == before[0]
    assert Path("mlflow.db").read_bytes() == before[1]
    assert points(client, found) == list(range(30))


@pytest.mark.parametrize("noted", [0, 10])
def test_a_kill_before_the_note_of_what_was_sent_gives_no_doubles(work, job, noted):
    with job() as run:
        for step in range(30):
            run.log({"loss": 1.0}, step)
    replayed(work)
    state = json.loads((work / queue.STATE).read_text())
    (work / queue.STATE).write_text(json.dumps({**state, "metrics": noted}))
    client, found = replayed(work)
    assert points(client, found) == list(range(30))
    assert json.loads((work / queue.STATE).read_text())["metrics"] == 30


def test_a_kill_while_a_run_is_made_leaves_one_run_with_its_parameters(work, job, monkeypatch):
    with job() as run:
        run.log({"loss": 1.0}, 0)

    def away(*_, **__):
        raise ConnectionError("away")

    with monkeypatch.context() as broken, pytest.raises(ConnectionError):
        broken.setattr(MlflowClient, "log_batch", away)
        replayed(work)
    client, found = replayed(work)
    assert [run.info.run_id for run in runs(client)] == [found.info.run_id]
    assert found.data.params["pretrain.recipe.lr"] == "0.1"


def test_a_torn_line_costs_no_point_and_doubles_none(work, job):
    with job() as run:
        run.log({"loss": 1.0}, 0)
    with open(work / tracking.METRICS, "a") as file:
        file.write('{"step": 1, "ti')
    replayed(work)
    with job() as run:
        run.log({"loss": 1.0}, 1)
        run.log({"loss": 1.0}, 2)
    client, found = replayed(work)
    assert points(client, found) == [0, 1, 2]


def test_numbers_that_are_none_go_through(work, job):
    with job() as run:
        run.log({"loss": float("nan"), "rate": float("inf")}, 0)
    client, found = replayed(work)
    assert points(client, found, "loss") == points(client, found, "rate") == [0]
    assert found.data.metrics["loss"] != found.data.metrics["loss"]


@pytest.mark.parametrize("note", ["kept", "lost", "torn"])
def test_a_resumed_job_goes_on_in_its_run(work, job, note):
    for attempt in range(2):
        with job() as run:
            run.log({"loss": 1.0}, 0)
            run.log({"loss": 1.0}, attempt)
        client, found = replayed(work)
        if note == "lost":
            (work / queue.STATE).unlink()
        elif note == "torn":
            (work / queue.STATE).write_text("")
    assert [run.info.run_id for run in runs(client)] == [found.info.run_id]
    assert points(client, found) == [0, 1]


def test_a_job_that_failed_and_then_worked_is_finished_without_an_error(work, job):
    with pytest.raises(ValueError, match="broken"), job():
        raise ValueError("broken")
    _, found = replayed(work)
    assert (found.info.status, found.data.tags["error"]) == ("FAILED", "ValueError: broken")
    with job():
        _, found = replayed(work)
        assert found.info.status == "RUNNING"
    _, found = replayed(work)
    assert found.info.status == "FINISHED"
    assert "error" not in found.data.tags


def test_jobs_of_other_parameters_have_runs_of_their_own(work, job):
    for fingerprint in ("f00d", "beef"):
        with job(fingerprint=fingerprint, work=work.with_name(fingerprint)):
            pass
    assert replay.sync_all() == 2
    found = runs(replay.open_client())
    assert {run.data.tags["pacavit.fingerprint"] for run in found} == {"f00d", "beef"}


def test_a_run_that_mlflow_lost_is_made_again(work, job):
    with job() as run:
        run.log({"loss": 1.0}, 0)
        run.artifact(Path("data.txt"))
    client, found = replayed(work)
    client.delete_run(found.info.run_id)
    _, again = replayed(work)
    assert again.info.run_id != found.info.run_id
    for path in Path().glob("mlflow.db*"):
        path.unlink()
    shutil.rmtree("mlruns")
    # A database that is deleted under an open client needs a client of another process.
    synced = subprocess.run([sys.executable, "-m", "pacavit", "sync"], capture_output=True, text=True)
    assert "1 runs are up to date" in synced.stdout, synced.stderr
    Path("mlflow.db").rename("moved.db")
    client = MlflowClient("sqlite:///moved.db")
    (found,) = runs(client)
    assert points(client, found) == [0]
    assert [item.path for item in client.list_artifacts(found.info.run_id)] == ["data.txt"]


def test_an_artifact_that_is_written_again_is_sent_again(work, job):
    path = Path("curve.csv")
    with job() as run:
        run.artifact(path)
    client, found = replayed(work)
    assert client.list_artifacts(found.info.run_id) == []
    for content in ("first", "second"):
        path.write_text(content)
        replayed(work)
        assert Path(client.download_artifacts(found.info.run_id, "curve.csv")).read_text() == content


def test_mlflow_looks_here_by_itself(work, job):
    with job() as run:
        run.artifact(Path("data.txt"))
    _, found = replayed(work)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    code = "import mlflow; print(mlflow.get_tracking_uri())"
    printed = subprocess.run([sys.executable, "-c", code], env=plain, capture_output=True, text=True)
    assert Path(printed.stdout.strip().removeprefix("sqlite:///")).samefile("mlflow.db")
    folder = Path(found.info.artifact_uri.removeprefix("file://"))
    assert folder.resolve().is_relative_to(Path("mlruns").resolve())
    assert (folder / "data.txt").read_text() == "data"


def test_replay_leaves_the_environment_as_it_is(work, job):
    with job():
        pass
    replayed(work)
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_sync_passes_a_damaged_folder_and_names_it(work, job):
    for name in ("a", "b", "c"):
        with job(fingerprint=name, work=work.with_name(name)):
            pass
    work.with_name("a").joinpath(tracking.INFO).write_text("{")
    work.with_name("b").joinpath(tracking.METRICS).write_text('{"step": 1}\n')
    with pytest.raises(PacavitError) as caught:
        replay.sync_all()
    assert f"work/pretrain/a (work/pretrain/a/{tracking.INFO}: is damaged" in str(caught.value)
    assert "work/pretrain/b (KeyError: 'metrics')" in str(caught.value)
    assert "work/pretrain/c" not in str(caught.value)
    assert "\n" not in str(caught.value)
    finished = {run.data.tags["pacavit.fingerprint"]: run.info.status for run in runs(replay.open_client())}
    assert finished["c"] == "FINISHED"


def test_sync_without_jobs_writes_nothing(work):
    Path("mlflow.db").unlink()
    result = CliRunner().invoke(cli, ["sync"], catch_exceptions=False)
    assert result.output.startswith("0 runs are up to date")
    assert sorted(path.name for path in Path().iterdir()) == ["data.txt", "params"]


def test_sync_tells_in_one_line_that_mlflow_is_away(work, job, monkeypatch):
    with job():
        pass
    # The longer waits are those of the very process that `pacavit sync` is.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:hunter2@{address}")
    with pytest.raises(PacavitError, match=f"^http://{address}: MLflow cannot be reached") as caught:
        replay.sync_all()
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def started(name: str, seconds: float) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", JOB, name, str(seconds)])


@pytest.mark.slow
def test_a_server_that_is_away_neither_stops_nor_fails_a_job(work, job, monkeypatch, capfd):
    monkeypatch.delenv(tracking.SWITCH)
    monkeypatch.setenv(tracking.PATIENCE, "2")
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:hunter2@127.0.0.1:{port}")
    start = time.monotonic()
    with job() as run:
        for step in range(5):
            run.log({"loss": 1.0}, step)
    assert time.monotonic() - start < 2 + 1
    assert "run `pacavit sync`" in capfd.readouterr().err
    with serving("server", port) as address:
        for _ in range(2):
            synced = subprocess.run(
                [sys.executable, "-m", "pacavit", "sync"], capture_output=True, text=True, timeout=120
            )
            assert "1 runs are up to date" in synced.stdout, synced.stderr
            client = MlflowClient(address)
            (found,) = runs(client)
            assert points(client, found) == list(range(5))
            assert found.info.status == "FINISHED"
    written = "".join(path.read_text() for path in work.iterdir())
    assert "hunter2" not in written + synced.stdout + synced.stderr


@pytest.mark.slow
def test_a_server_that_does_not_answer_holds_a_job_no_longer_than_its_patience(work, job, monkeypatch):
    monkeypatch.delenv(tracking.SWITCH)
    monkeypatch.setenv(tracking.PATIENCE, "4")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with job() as run:
            run.log({"loss": 1.0}, 0)
        assert time.monotonic() - start < 4 + 1


@pytest.mark.slow
def test_a_server_that_comes_and_goes_during_a_job_gets_every_point(work, monkeypatch):
    monkeypatch.delenv(tracking.SWITCH)
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:hunter2@127.0.0.1:{port}")
    folder = Path("work/pretrain/v")
    running = started("v", 300)

    def told_away() -> int:
        return (folder / "tracking.log").read_text().count("MlflowException")

    until(lambda: folder.joinpath("tracking.log").exists() and told_away())
    with serving("server", port) as address:
        client = MlflowClient(address)
        until(lambda: any(loads(client, run) for run in runs(client)))
    before = told_away()
    until(lambda: told_away() > before)
    back = round(1000 * time.time())
    with serving("server", port):
        until(lambda: any(time > back for run in runs(client) for time in loads(client, run)))
        Path("stop").touch()
        assert running.wait(timeout=60) == 0
        (found,) = runs(client)
        assert points(client, found) == logged_steps(folder)
        assert found.info.status == "FINISHED"
    assert "hunter2" not in (folder / "tracking.log").read_text()


def logged_steps(folder: Path) -> list[int]:
    """Return the steps that a job has written down."""
    return [json.loads(line)["step"] for line in (folder / tracking.METRICS).read_text().splitlines()]


def loads(client: MlflowClient, run) -> list[int]:
    """Return when the machine's load was measured."""
    history = client.get_metric_history(run.info.run_id, "system/cpu_utilization_percentage")
    return [point.timestamp for point in history]


@pytest.mark.slow
def test_twelve_first_jobs_at_once_all_reach_an_empty_database(work, monkeypatch):
    monkeypatch.delenv(tracking.SWITCH)
    monkeypatch.setenv(tracking.PATIENCE, "300")
    Path("mlflow.db").unlink()
    jobs = [started(f"v{number}", 1) for number in range(12)]
    assert [job.wait(timeout=300) for job in jobs] == [0] * 12
    client = replay.open_client()
    found = runs(client)
    assert sorted(run.data.tags["variant"] for run in found) == sorted(f"v{number}" for number in range(12))
    assert {run.info.status for run in found} == {"FINISHED"}
    assert all(points(client, run) == [0, 1] for run in found)
    assert all(loads(client, run) for run in found)
    assert [run.info.status for run in parents(client)] == ["FINISHED"]


@pytest.mark.slow
def test_twelve_first_jobs_at_once_all_reach_a_server(work, monkeypatch):
    monkeypatch.delenv(tracking.SWITCH)
    monkeypatch.setenv(tracking.PATIENCE, "300")
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    with serving("server", port) as address:
        jobs = [started(f"v{number}", 1) for number in range(12)]
        assert [job.wait(timeout=300) for job in jobs] == [0] * 12
        client = MlflowClient(address)
        found = runs(client)
        assert sorted(run.data.tags["variant"] for run in found) == sorted(
            f"v{number}" for number in range(12)
        )
        assert {run.info.status for run in found} == {"FINISHED"}
        assert all(points(client, run) == [0, 1] for run in found)
        assert [run.info.status for run in parents(client)] == ["FINISHED"]


@pytest.mark.slow
def test_a_running_job_is_followed_with_system_metrics(work, monkeypatch):
    monkeypatch.delenv(tracking.SWITCH)
    running = started("v", 300)
    client = replay.open_client()
    until(lambda: any(points(client, run) for run in runs(client)))
    (found,) = runs(client)
    assert found.info.status == "RUNNING"
    Path("stop").touch()
    assert running.wait(timeout=60) == 0
    (found,) = runs(client)
    assert found.info.status == "FINISHED"
    assert points(client, found) == logged_steps(Path("work/pretrain/v"))
    assert any(name.startswith("system/cpu") for name in found.data.metrics)


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.0, 5.0])
def test_a_killed_job_is_killed_in_mlflow_too_until_it_is_resumed(work, monkeypatch, after):
    monkeypatch.delenv(tracking.SWITCH)
    folder = Path("work/pretrain/v")
    running = started("v", 600)
    until((folder / tracking.METRICS).exists)
    time.sleep(after)
    running.kill()
    running.wait()
    client = replay.open_client()
    until(lambda: json.loads((folder / tracking.INFO).read_text())["status"] == "KILLED")
    until(lambda: [run.info.status for run in runs(client)] == ["KILLED"])
    assert started("v", 1).wait(timeout=60) == 0
    (found,) = runs(client)
    assert found.info.status == "FINISHED"
    steps = points(client, found)
    assert steps == list(range(len(steps)))


@pytest.mark.slow
def test_mlflow_ui_shows_runs_and_files_without_an_option(work, job):
    with job() as run:
        run.log({"loss": 1.0}, 0)
        run.artifact(Path("data.txt"))
    _, found = replayed(work)
    with serving("ui", free_port()) as address:
        searched = get(
            f"{address}/api/2.0/mlflow/runs/search", {"experiment_ids": [found.info.experiment_id]}
        )
        tagged = [
            (run, {tag["key"]: tag["value"] for tag in run["data"]["tags"]})
            for run in json.loads(searched)["runs"]
        ]
        ((shown, tags),) = [(run, tags) for run, tags in tagged if "job" in tags]
        ((parent, _),) = [(run, tags) for run, tags in tagged if "job" not in tags]
        assert tags["mlflow.parentRunId"] == parent["info"]["run_id"]
        assert shown["info"]["run_id"] == found.info.run_id
        assert {metric["key"] for metric in shown["data"]["metrics"]} == {"loss"}
        content = get(f"{address}/get-artifact?path=data.txt&run_uuid={found.info.run_id}")
        assert content == b"data"


#: Variables in which MLflow, its stores and the clouds keep secrets.
SECRETS = (
    "MLFLOW_TRACKING_PASSWORD",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCESS_KEY",
    "GOOGLE_API_KEY",
    "HF_TOKEN",
    "NETRC_PASSWORD",
)


@pytest.mark.slow
def test_no_secret_of_the_environment_is_written_down_or_printed(project, monkeypatch):
    """Whole stages against a server that is there and one that is not, with an error among them."""
    for name in SECRETS:
        monkeypatch.setenv(name, f"hunter2-{name}")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.delenv(tracking.SWITCH)
    monkeypatch.setenv(tracking.PATIENCE, "60")
    for split in ("train", "val"):
        change(project / "params/mini/data.yaml", f"imagenet.archives.{split}_images", 20)
    port = free_port()
    printed = []

    def type_in(*arguments: str) -> None:
        command = [sys.executable, "-m", "pacavit", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, timeout=200)
        printed.append(result.stdout + result.stderr)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:hunter2-uri@127.0.0.1:{port}")
    with serving("server", port) as address:
        type_in("archives", "imagenet")
        type_in("prepare", "imagenet")
        type_in("figures", "imagenet", "test_pacavit")  # lacks what it reads
        type_in("preflight")
        type_in("sync")
        client = MlflowClient(address)
        told = [repr(run.to_dictionary()) for run in runs(client)]
        assert len(told) == 2
    monkeypatch.setenv(tracking.PATIENCE, "1")
    type_in("archives", "imagenet")
    type_in("sync")
    assert "runs are up to date at http://127.0.0.1" in printed[4]
    assert "MLflow cannot be reached" in printed[-1]
    files = [path for path in project.rglob("*") if path.is_file() and "mlruns" not in path.parts]
    assert (project / "server.log") in files
    written = [path for path in files if b"hunter2" in path.read_bytes()]
    assert written == []
    assert not [text for text in [*printed, *told] if "hunter2" in text]
