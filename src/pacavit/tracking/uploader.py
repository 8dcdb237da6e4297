"""Uploads the files of running jobs to MLflow, as ``python -m pacavit.tracking.uploader QUEUE``.

A thread follows each job of the queue. The process ends by itself when there has been no job for a while, and the next
job starts another one.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import Timeout

from pacavit.files import json_object, write_json
from pacavit.redaction import redacted_output
from pacavit.tracking import ARTIFACTS, INFO, METRICS, MODEL, queue

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Without a job, so that those of one reproduction share a process.
_LINGER_SECONDS = 20.0
_ROUND_SECONDS = 2.0
#: For which what is left of a job that has ended is sent again to a local database, which is busy at most.
_BUSY_SECONDS = 600.0
#: Between two samples of the machine's load; MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL makes it longer for long jobs.
_SYSTEM_SECONDS = 10

# One connection writes to a local database at a time; a server is asked for all jobs at once.
_database = threading.Lock()


def serve(folder: Path) -> None:
    """Follow the jobs of a queue until there are none for a while, or the queue's folder is removed."""
    threads: dict[Path, threading.Thread] = {}
    last = time.monotonic()
    while folder.is_dir() and (threads or time.monotonic() - last < _LINGER_SECONDS):
        for path, entry in queue.entries(folder).items():
            if path not in threads:
                threads[path] = threading.Thread(target=_follow_entry, args=(path, entry), daemon=True)
                threads[path].start()
                last = time.monotonic()
        threads = {path: thread for path, thread in threads.items() if thread.is_alive()}
        if threads:
            last = time.monotonic()
        time.sleep(0.1)


def _follow_entry(path: Path, entry: dict[str, Any]) -> None:
    work = Path(entry["work"])
    try:
        follow(work, entry["process"])
    except FileNotFoundError:
        pass  # the work folder was removed
    finally:
        path.unlink(missing_ok=True)


def follow(work: Path, process: int) -> None:
    """Upload a job's files as they grow, until it has ended and MLflow has been told of that.

    Args:
        work: the job's work folder.
        process: of the job, on this machine.
    """
    client = monitor = uploaded = ended = None
    while True:
        info = json_object(work / INFO)
        if info.get("process") != process:
            # The job was killed, and its next attempt has its own entry; or the file is damaged or gone.
            return
        running = info["status"] == "RUNNING"
        if running and not _alive(process):
            write_json(work / INFO, {**info, "status": "KILLED", "error": None, "end": time.time()})
            continue
        found = _contents(work)
        if found != uploaded:
            try:
                client, monitor = _round(client, monitor, work, running)
                uploaded = found
            except Exception as error:
                # Whatever MLflow raises, the files stay, and the next round or `pacavit sync` tries again.
                _log(work, error)
                if not running:
                    ended = ended or time.monotonic()
                    if _is_busy(error) and time.monotonic() - ended < _BUSY_SECONDS:
                        time.sleep(_ROUND_SECONDS)
                        continue
        if not running:
            break
        _sleep_while_running(work, process)
    if monitor is not None:
        monitor.finish()


def _contents(work: Path) -> dict[str, tuple[int, int]]:
    """Return what changes when a job has something new to upload."""
    paths = [work / name for name in (INFO, METRICS, ARTIFACTS, MODEL)]
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_size) for path in paths if path.exists()}


def _round(client: MlflowClient | None, monitor: Any, work: Path, running: bool) -> tuple[MlflowClient, Any]:
    """Upload what is new, and let MLflow's monitor measure the machine while the job runs."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    from pacavit.tracking import replay

    client = client or replay.open_client()
    if queue.is_local():
        with _database:
            run = replay.sync(client, work)
    else:
        run = replay.sync(client, work)
    if monitor is None or (running and not monitor._process.is_alive()):
        # The monitor ends by itself when the server is away.
        monitor = SystemMetricsMonitor(run, sampling_interval=_SYSTEM_SECONDS, resume_logging=True)
        # Its own first sample comes too late for a short job.
        monitor.collect_metrics()
        monitor.publish_metrics(monitor.aggregate_metrics())
        monitor.mlflow_logger.flush()
        if running:
            monitor.start()
    return client, monitor


def _is_busy(error: Exception) -> bool:
    """Return whether another process holds the local database, which it will not for long."""
    return queue.is_local() and "is locked" in str(error)


def _log(work: Path, error: Exception) -> None:
    from pacavit.tracking import replay

    with open(work / queue.FAULTS, "a") as log:
        log.write(f"{time.strftime('%H:%M:%S')} {replay.told(error)}\n")


def _alive(process: int) -> bool:
    import psutil

    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _sleep_while_running(work: Path, process: int) -> None:
    """Wait a round, or less if the job ends."""
    seen = (work / INFO).stat().st_mtime_ns
    end = time.monotonic() + _ROUND_SECONDS
    while time.monotonic() < end and _alive(process) and (work / INFO).stat().st_mtime_ns == seen:
        time.sleep(0.1)


def main(folder: Path) -> None:
    """Serve a queue, unless another process does.

    A job adds its entry and then tries the lock, and this process looks for entries after it has let go of the lock:
    so one that comes at the last moment is seen by one of the two.
    """
    os.nice(10)  # Where processors are short, the jobs come first.
    # One that is about to end lets go of the lock within the timeout.
    with suppress(Timeout):
        while True:
            with queue.lock(folder).acquire(timeout=5):
                _serve_mlflow(folder)
            if not queue.entries(folder):
                break
    sys.stdout.flush()
    # Taking MLflow's modules down takes a part of a second.
    os._exit(0)


def _serve_mlflow(folder: Path) -> None:
    from pacavit.tracking import replay

    replay.set_address()
    # MLflow prints the server's address with the password that it may hold.
    with redacted_output():
        serve(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
