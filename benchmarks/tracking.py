"""What tracking costs a training while MLflow is there, away, slow, or killed and back; and whether a point is lost.

    python benchmarks/tracking.py [--rounds 3] [--steps 400] [--json OUT]

Every round runs the same loop once in each state, in a random order. Only the loop is timed, as a ratio to the loop of
that round without tracking: by the clock, which means nothing on a busy machine, and in processor time of the training.
What logging takes of the loop, and what a job waits at its end, is told apart. Then `pacavit sync` hands over the rest.
"""

from __future__ import annotations

import http.server
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

STATES = ("off", "sqlite", "server", "absent", "slow", "killed and back")
SLOW_SECONDS = 30
#: Steps of a few milliseconds with a point each, as often as no training logs; prints what was measured as JSON.
JOB = """
import json, sys, time
from pathlib import Path
import torch
from pacavit.tracking import start_run

name, steps = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(1)
matrix = torch.rand(256, 256)
logging = 0.0
with start_run(name, "benchmark", {"variant": name}, {}, name, "code", {}, Path("work/benchmark", name)) as run:
    start, used = time.perf_counter(), time.process_time()
    for step in range(steps):
        for _ in range(20):
            matrix = torch.nn.functional.normalize(matrix @ matrix)
        loss, before = float(matrix.mean()), time.perf_counter()
        run.log({"loss": loss, "lr": 1 / (step + 1)}, step)
        logging += time.perf_counter() - before
    end, used = time.perf_counter(), time.process_time() - used
wait = time.perf_counter() - end
print(json.dumps({"clock": end - start, "processor": used, "logging": logging / (end - start), "wait_s": wait}))
"""
Measured = dict[str, float]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def mlflow_server(port: int) -> Iterator[None]:
    command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    server = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not answers(port):
            time.sleep(0.2)
        yield
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def slow_server() -> Iterator[int]:
    """Answer every request with an error, after half a minute."""

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(SLOW_SECONDS)
            with suppress(BrokenPipeError):  # who asked has given up
                self.send_error(503)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()


def environment(uri: str | None, tracked: bool = True) -> dict[str, str]:
    given = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "PACAVIT_TRACKING"))}
    given |= {"PACAVIT_TRACKING_PATIENCE": "20"}
    return (
        given
        | ({"MLFLOW_TRACKING_URI": uri} if uri else {})
        | ({} if tracked else {"PACAVIT_TRACKING": "off"})
    )


def run(state: str, name: str, steps: int, port: int) -> Measured:
    """Run the loop while MLflow is in a state; return what was measured."""
    uri = None if state in ("off", "sqlite") else f"http://127.0.0.1:{port}"
    if state == "slow":
        with slow_server() as slow:
            return job(name, steps, environment(f"http://127.0.0.1:{slow}"))
    if state == "server":
        with mlflow_server(port):
            return job(name, steps, environment(uri))
    if state == "killed and back":
        with mlflow_server(port):
            process = start(name, steps, environment(uri))
            await_points(name, steps // 3)
        await_points(name, steps // 2)
        with mlflow_server(port):
            return measured(process)
    return job(name, steps, environment(uri, state != "off"))


def await_points(name: str, number: int) -> None:
    path = Path("work/benchmark", name, "metrics.jsonl")
    while not path.exists() or path.read_bytes().count(b"\n") < number:
        time.sleep(0.1)


def start(name: str, steps: int, given: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", JOB, name, str(steps)], env=given, stdout=subprocess.PIPE, text=True
    )


def job(name: str, steps: int, given: dict[str, str]) -> Measured:
    return measured(start(name, steps, given))


def measured(process: subprocess.Popen[str]) -> Measured:
    printed, _ = process.communicate(timeout=600)
    return json.loads(printed)


def points(port: int, steps: int) -> dict[str, int]:
    """Hand everything over to one server, twice, and count what it lacks and what it has twice."""
    from mlflow import MlflowClient

    with mlflow_server(port):
        for _ in range(2):
            given = environment(f"http://127.0.0.1:{port}")
            subprocess.run([sys.executable, "-m", "pacavit", "sync"], env=given, check=True, timeout=600)
        client = MlflowClient(f"http://127.0.0.1:{port}")
        experiment = client.get_experiment_by_name("pacavit-benchmark")
        found = Counter()
        # The run of the whole reproduction, which they are below, has no points.
        for tracked in client.search_runs([experiment.experiment_id], "tags.`mlflow.parentRunId` != ''"):
            had = Counter(point.step for point in client.get_metric_history(tracked.info.run_id, "loss"))
            found["runs"] += 1
            found["missing"] += len(set(range(steps)) - set(had))
            found["double"] += sum(number - 1 for number in had.values())
        return {name: found[name] for name in ("runs", "missing", "double")}


def summary(rounds: list[dict[str, Measured]], state: str) -> dict[str, float | list[float]]:
    """Return median, lowest and highest ratio to the loop without tracking, and the medians of the rest."""
    row: dict[str, float | list[float]] = {}
    for kind in ("clock", "processor"):
        ratios = [took[state][kind] / took["off"][kind] for took in rounds]
        row[kind] = [statistics.median(ratios), min(ratios), max(ratios)]
    for kind in ("logging", "wait_s"):
        row[kind] = statistics.median(took[state][kind] for took in rounds)
    return row


@click.command()
@click.option("--rounds", default=3, show_default=True)
@click.option("--steps", default=400, show_default=True)
@click.option("--json", "target", type=click.Path(path_type=Path), help="File to write the figures to.")
def main(rounds: int, steps: int, target: Path | None) -> None:
    """Measure, and print a table."""
    target = target.resolve() if target else None
    rounds_taken = []
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for number in range(rounds):
            rounds_taken.append(
                {
                    state: run(state, f"{state.replace(' ', '_')}-{number}", steps, port)
                    for state in random.sample(STATES, len(STATES))
                }
            )
        counted = points(port, steps)
        os.chdir("/")
    rows = {state: summary(rounds_taken, state) for state in STATES}
    click.echo(f"{'MLflow':16} {'clock':>18} {'processor':>18} {'logging':>8} {'wait at the end':>16}")
    for state, row in rows.items():
        clock, processor = ("{:.2f} ({:.2f}-{:.2f})".format(*row[kind]) for kind in ("clock", "processor"))
        click.echo(f"{state:16} {clock:>18} {processor:>18} {row['logging']:8.2%} {row['wait_s']:14.1f} s")
    click.echo(f"after `pacavit sync`, twice: {counted}")
    if target is not None:
        target.write_text(
            json.dumps({"rounds": rounds, "steps": steps, "states": rows, "points": counted}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
