"""What tests look up in MLflow, and servers for them."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient

from pacavit.tracking import replay


def replayed(work: Path) -> tuple:
    """Replay the job's files, and return MLflow's client and the job's run."""
    client = replay.open_client()
    return client, client.get_run(replay.sync(client, work))


def runs(client: MlflowClient) -> list:
    """Return the runs of jobs, not that of the reproduction."""
    experiment = client.get_experiment_by_name("pacavit-mini")
    found = client.search_runs([experiment.experiment_id]) if experiment else []
    return [run for run in found if "job" in run.data.tags]


def parents(client: MlflowClient) -> list:
    """Return the runs of reproductions."""
    experiment = client.get_experiment_by_name("pacavit-mini")
    found = client.search_runs([experiment.experiment_id]) if experiment else []
    return [run for run in found if "pacavit.reproduction" in run.data.tags]


def points(client: MlflowClient, run, name: str = "loss") -> list[int]:
    """Return the steps of a metric as MLflow has them, doubles included."""
    return sorted(point.step for point in client.get_metric_history(run.info.run_id, name))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def serving(command: str, port: int, *options: str):
    """Run ``mlflow server`` or ``mlflow ui`` until the block ends."""
    arguments = [command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *options]
    with open("server.log", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *arguments], stdout=log, stderr=log, start_new_session=True
        )
    try:
        for _ in range(600):
            try:
                get(f"http://127.0.0.1:{port}/health")
                break
            except OSError:
                assert server.poll() is None, Path("server.log").read_text()
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=60)


def get(address: str, data: dict | None = None) -> bytes:
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


def until(condition, seconds: float = 60):
    """Return what a condition becomes, as soon as it holds."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"did not come true in {seconds} s"
        time.sleep(0.2)
    return value
