"""One process uploads for all jobs of a project, whoever starts or ends when."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from mlflow_helpers import parents, points, runs, until

from pacavit import tracking
from pacavit.tracking import queue, replay, uploader

pytestmark = pytest.mark.usefixtures("database")

#: Jobs in their own processes: a point every tenth of a second until a file of their name is there.
JOB = """
import sys, time
from pathlib import Path
from pacavit.tracking import queue, start_run

queue._CHECK_SECONDS = 0.2
name = sys.argv[1]
with start_run(f"pretrain@{name}", "mini", {"variant": name}, {}, name, "code", {}, Path("work/pretrain", name)) as run:
    step = 0
    while not Path(name).exists():
        run.log({"loss": 1.0}, step)
        time.sleep(0.1)
        step += 1
"""


def start(name: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", JOB, name])


def uploaders() -> list[psutil.Process]:
    """Return the processes that upload for this project, among them those about to leave the queue to another."""
    here = Path.cwd()
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "pacavit.tracking.uploader" in (process.info["cmdline"] or []) and Path(process.cwd()) == here
    ]


def followed(client, name: str) -> bool:
    return any(points(client, run) for run in runs(client) if run.data.tags["variant"] == name)


@pytest.mark.slow
def test_jobs_beside_and_after_each_other_share_a_process(work, monkeypatch):
    monkeypatch.delenv(tracking.SWITCH)
    client = replay.open_client()
    jobs = [start("a"), start("b")]
    until(lambda: followed(client, "a") and followed(client, "b"))
    until(lambda: len(uploaders()) == 1)
    one = uploaders()
    for name in ("a", "b", "c"):
        Path(name).touch()
    jobs.append(start("c"))
    assert [job.wait(timeout=60) for job in jobs] == [0, 0, 0]
    until(lambda: uploaders() == one)
    assert {run.info.status for run in runs(client)} == {"FINISHED"}
    assert [run.info.status for run in parents(client)] == ["FINISHED"]


@pytest.mark.slow
def test_one_that_is_killed_is_replaced_and_no_point_is_lost(work, monkeypatch):
    """As at the end of a Slurm job, which takes the process that it started with it."""
    monkeypatch.delenv(tracking.SWITCH)
    client = replay.open_client()
    job = start("a")
    until(lambda: followed(client, "a"))
    until(lambda: len(uploaders()) == 1)
    (first,) = uploaders()
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: uploaders() not in ([], [first]))
    Path("a").touch()
    assert job.wait(timeout=60) == 0
    (found,) = runs(client)
    logged = (Path("work/pretrain/a") / tracking.METRICS).read_text().splitlines()
    assert points(client, found) == [json.loads(line)["step"] for line in logged]
    assert found.info.status == "FINISHED"


def test_it_ends_when_there_has_been_no_job_for_a_while(work, monkeypatch):
    monkeypatch.setattr(uploader, "_LINGER_SECONDS", 0.2)
    folder = Path("work/uploads/here")
    folder.mkdir(parents=True)
    served = threading.Thread(target=uploader.serve, args=(folder,))
    served.start()
    served.join(timeout=30)
    assert not served.is_alive()


def test_it_ends_with_its_folder(work, monkeypatch):
    folder = Path("work/uploads/here")
    folder.mkdir(parents=True)
    served = threading.Thread(target=uploader.serve, args=(folder,))
    served.start()
    folder.rmdir()
    served.join(timeout=30)
    assert not served.is_alive()


def test_an_entry_is_gone_once_its_work_folder_is(work, monkeypatch):
    monkeypatch.setattr(uploader, "_LINGER_SECONDS", 0.2)
    folder = Path("work/uploads/here")
    folder.mkdir(parents=True)
    (folder / "entry.json").write_text(json.dumps({"work": "work/pretrain/gone", "process": os.getpid()}))
    uploader.serve(folder)
    assert queue.entries(folder) == {}


def test_an_entry_that_is_being_written_is_none_yet(work):
    """As the file is called before it takes its final name: read now, it would be followed twice."""
    folder = Path("work/uploads/here")
    folder.mkdir(parents=True)
    for name in (".entry.json.x1y2.json", "entry.json"):
        (folder / name).write_text(json.dumps({"work": "work/pretrain/v", "process": 1}))
    assert [path.name for path in queue.entries(folder)] == ["entry.json"]


@pytest.mark.slow
def test_a_second_one_leaves_the_queue_to_the_first(work):
    folder = Path("work/uploads/here")
    folder.mkdir(parents=True)
    with queue.lock(folder):
        command = [sys.executable, "-m", "pacavit.tracking.uploader", str(folder)]
        assert subprocess.run(command, timeout=60).returncode == 0


def test_a_local_database_that_is_busy_is_asked_again_after_the_job(work, job, monkeypatch):
    monkeypatch.setattr(uploader, "_ROUND_SECONDS", 0)
    with job() as run:
        run.log({"loss": 1.0}, 0)
    sync, busy = replay.sync, ["once", "twice"]

    def sync_when_free(client, folder):
        if busy:
            raise sqlite3.OperationalError(f"database is locked {busy.pop()}")
        return sync(client, folder)

    monkeypatch.setattr(replay, "sync", sync_when_free)
    uploader.follow(work, os.getpid())
    assert queue.completed(work) is not None


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", None])
def test_an_error_that_will_not_pass_by_itself_ends_the_upload(work, job, monkeypatch, address):
    if address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with job() as run:
        run.log({"loss": 1.0}, 0)
    asked = []

    def refuse(client, folder):
        asked.append(folder)
        raise OSError("database is locked" if address else "disk full")

    monkeypatch.setattr(replay, "sync", refuse)
    start = time.time()
    uploader.follow(work, os.getpid())
    assert asked == [work]
    assert queue.last_fault(work, start - 60).startswith("OSError: ")
    assert queue.last_fault(work, start + 60) is None


@pytest.mark.parametrize(
    ("address", "patience"),
    [(None, tracking._LOCAL_SECONDS), ("http://127.0.0.1:1", tracking._SERVER_SECONDS)],
)
def test_a_job_waits_longer_for_a_local_database_than_for_a_server(work, job, monkeypatch, address, patience):
    monkeypatch.delenv(tracking.SWITCH)
    if address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    waited = []
    monkeypatch.setattr(queue.Entry, "ensure_uploader", lambda entry: None)
    monkeypatch.setattr(queue.Entry, "wait", lambda entry, seconds: waited.append(seconds))
    with job():
        pass
    assert waited == [patience]


def test_a_job_does_not_wait_for_an_uploader_that_cannot_be_started(work, monkeypatch):
    monkeypatch.setattr(queue, "_start_uploader", lambda folder: None)
    monkeypatch.setattr(queue, "_CHECK_SECONDS", 0)
    assert not queue.Entry(work, 0.0).wait(600)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        (None, True),
        ("sqlite:////tmp/x.db", True),
        ("./mlruns", True),
        ("file:///tmp/mlruns", True),
        ("http://127.0.0.1:1", False),
        ("postgresql://me@127.0.0.1/runs", False),
    ],
)
def test_jobs_with_another_address_have_a_queue_of_their_own(work, monkeypatch, address, local):
    names = {queue._name()}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:2")
    names.add(queue._name())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:other@127.0.0.1:2")
    names.add(queue._name())
    assert len(names) == 2
    if address is None:
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert queue.is_local() == local
