"""Every reproduction has one run in MLflow, below which those of its jobs are."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow_helpers import parents, replayed, runs

from pacavit.tracking import replay

pytestmark = pytest.mark.usefixtures("database")

PARENT = "mlflow.parentRunId"
#: Waits for a file, so that several processes begin at the same time.
OPEN = """
import time
from pathlib import Path
from pacavit.tracking import replay, reproduction

client = replay.open_client()
Path("ready", NAME).touch()
while not Path("go").exists():
    time.sleep(0.001)
print(reproduction.open_parent(client, "mini", 1000).info.run_id)
"""


def test_the_runs_of_all_jobs_are_below_that_of_the_reproduction(work, job):
    for name in ("a", "b"):
        with job(fingerprint=name, work=work.with_name(name)):
            pass
    assert replay.sync_all() == 2
    client = replay.open_client()
    (parent,) = parents(client)
    assert parent.info.run_name == "reproduction mini"
    assert parent.info.status == "FINISHED"
    assert [run.data.tags[PARENT] for run in runs(client)] == [parent.info.run_id] * 2


def test_a_reproduction_is_running_while_one_of_its_jobs_is(work, job):
    with job():
        client, _ = replayed(work)
        other = work.with_name("other")
        with job(fingerprint="other", work=other):
            pass
        replayed(other)
        assert [run.info.status for run in parents(client)] == ["RUNNING"]
    _, last = replayed(work)
    (parent,) = parents(client)
    assert parent.info.status == "FINISHED"
    assert parent.info.end_time >= last.info.end_time


def test_processes_at_the_same_time_make_one(work):
    Path("ready").mkdir()
    asked = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN.replace("NAME", repr(str(number)))], stdout=subprocess.PIPE, text=True
        )
        for number in range(2)
    ]
    while len(list(Path("ready").iterdir())) < len(asked):
        assert all(process.poll() in (None, 0) for process in asked)
        time.sleep(0.05)
    Path("go").touch()
    told = {process.communicate(timeout=60)[0].strip() for process in asked}
    assert told == {run.info.run_id for run in parents(replay.open_client())}
    assert len(told) == 1


def test_one_whose_answer_was_lost_is_found_again(work, job, monkeypatch):
    with job():
        pass
    create_run = MlflowClient.create_run

    def lost(*given, **named):
        create_run(*given, **named)
        raise ConnectionError("away")

    for _ in range(2):  # that of the reproduction, then that of the job
        with monkeypatch.context() as broken, pytest.raises(ConnectionError):
            broken.setattr(MlflowClient, "create_run", lost)
            replayed(work)
    client, found = replayed(work)
    (parent,) = parents(client)
    assert [run.info.run_id for run in runs(client)] == [found.info.run_id]
    assert found.data.tags[PARENT] == parent.info.run_id


def test_one_that_mlflow_lost_is_made_again(work, job):
    with job():
        client, _ = replayed(work)
        (first,) = parents(client)
        client.delete_run(first.info.run_id)
    _, found = replayed(work)
    (second,) = parents(client)
    assert second.info.run_id != first.info.run_id
    assert found.data.tags[PARENT] == second.info.run_id


def test_two_project_folders_on_one_server_have_one_each(work, job, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", replay.tracking_uri())
    for name in ("here", "there"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        with job(fingerprint=name, inputs={}):
            pass
        client, _ = replayed(work)
    found = {run.info.run_id for run in parents(client)}
    assert len(found) == 2
    assert {run.data.tags[PARENT] for run in runs(client)} == found
