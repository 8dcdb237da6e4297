"""Processes that train together: how they are started, meet, and end."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch

from pacavit.errors import PacavitError
from pacavit.runtime import distributed, slurm
from pacavit.runtime.distributed import PATIENCE, PROCESSES, launch, process_group, wrapper_options
from pacavit.runtime.slurm import Node


@pytest.fixture
def alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_JOB_ID", "SLURM_STEP_NUM_NODES"):
        monkeypatch.delenv(name, raising=False)


def test_one_process_does_the_work_itself(alone, monkeypatch):
    monkeypatch.setenv(PROCESSES, "1")
    assert launch(["pretrain", "test_pacavit"]) is None
    monkeypatch.delenv(PROCESSES)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert launch(["pretrain", "test_pacavit"]) is None


@pytest.mark.parametrize("value", ["0", "two", "-1"])
def test_a_wrong_number_of_processes_is_told(alone, monkeypatch, value):
    monkeypatch.setenv(PROCESSES, value)
    with pytest.raises(PacavitError, match=f"{PROCESSES}={value}: expected a number of processes"):
        launch([])


def test_there_is_a_process_a_gpu(alone, monkeypatch):
    monkeypatch.delenv(PROCESSES, raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(distributed, "_run_together", lambda *given: given)
    assert launch(["coco", "x"]) == (8, ["coco", "x"], None)


def test_a_process_a_gpu_of_each_node(alone, monkeypatch):
    monkeypatch.delenv(PROCESSES, raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    node = Node(number=2, nodes=3, address="10.0.0.1", port=20007)
    monkeypatch.setattr(slurm, "this_node", lambda: node)
    monkeypatch.setattr(distributed, "_run_together", lambda *given: given)
    assert launch(["coco", "x"]) == (1, ["coco", "x"], node)
    meeting = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "20007"}
    assert distributed._meeting(8, "unused", node) == (16, 24, meeting)


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["nonsense"], 2)])
def test_the_exit_code_is_that_of_the_processes(alone, monkeypatch, arguments, code):
    monkeypatch.setenv(PROCESSES, "2")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        assert launch(arguments) == code
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


MEETING = """
import os, sys, time, torch
from pacavit.runtime.distributed import every, highest, launch, mean_over_ranks, process_group, rank
code = launch(sys.argv[1:])
if code is None:
    with process_group() as device:
        assert every(rank() + 5, device) == [5, 6]
        assert highest(float(rank()), device) == 1.0
        assert mean_over_ranks(float(rank()), device) == 0.5
        open(f"rank{rank()}", "w").write(str(os.getpid()))
        time.sleep(60)
sys.exit(code)
"""


@pytest.fixture
def meeting(alone, tmp_path):
    """Two processes that have met, started by a launcher, as a stand-in for ``python -m pacavit``."""
    (tmp_path / "pacavit_meeting.py").write_text(MEETING)
    environment = {**os.environ, PROCESSES: "2", "PYTHONPATH": str(tmp_path)}
    # The launcher starts `python -m pacavit`; here that is the script.
    start = "import runpy; runpy.run_module('pacavit_meeting', run_name='__main__')"
    patched = (
        "from torch.distributed.elastic import multiprocessing as m\n"
        "original = m.start_processes\n"
        "def start(name, entry, args, **rest):\n"
        f"    return original(name, entry, args={{i: ('-c', {start!r}) for i in args}}, **rest)\n"
        "m.start_processes = start\n" + start
    )
    launcher = subprocess.Popen(
        [sys.executable, "-c", patched], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    paths = [tmp_path / "rank0", tmp_path / "rank1"]
    until = time.monotonic() + 60
    while not all(path.exists() and path.read_text() for path in paths) and time.monotonic() < until:
        time.sleep(0.1)
    ranks = [psutil.Process(int(path.read_text())) for path in paths]
    yield launcher, ranks
    for process in (launcher, *ranks):
        if psutil.pid_exists(process.pid):
            process.kill()
    launcher.communicate()


def ended(processes) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=10)
    return not alive


@pytest.mark.slow
def test_processes_of_one_machine_listen_on_loopback_alone(meeting):
    launcher, ranks = meeting
    for process in (psutil.Process(launcher.pid), *ranks):
        addresses = {c.laddr.ip for c in process.net_connections(kind="inet") if c.status == "LISTEN"}
        assert addresses <= {"127.0.0.1", "::1"}


@pytest.mark.slow
def test_processes_end_with_a_launcher_that_is_killed(meeting):
    launcher, ranks = meeting
    launcher.kill()
    assert ended(ranks)


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_others(meeting):
    launcher, ranks = meeting
    ranks[1].kill()
    assert launcher.wait(timeout=20) == 128 + signal.SIGKILL
    assert ended(ranks)


def test_a_process_whose_launcher_is_gone_does_not_begin(alone, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("PACAVIT_LAUNCHER", "1")
    monkeypatch.setattr(os, "getppid", lambda: 2)
    monkeypatch.setattr(distributed.ctypes, "CDLL", lambda name: None)
    with pytest.raises(SystemExit, match="the process that started this one has ended"):
        launch([])


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("[gloo] Timed out waiting 1800000ms for recv operation", r"not answered for 7 seconds"),
        ("[gloo] Connection closed by peer [127.0.0.1]:4", "another process of the training has ended"),
    ],
)
def test_a_lost_process_is_told_in_one_line(alone, monkeypatch, said, told):
    monkeypatch.setenv("RANK", "1")
    error = distributed._explained(RuntimeError(said), 7)
    assert isinstance(error, PacavitError)
    assert "rank 1: " in str(error)
    assert told in str(error)
    other = RuntimeError("CUDA out of memory")
    assert distributed._explained(other, 7) is other


def test_a_wrong_patience_is_told(alone, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv(PATIENCE, "0")
    with pytest.raises(PacavitError, match=f"{PATIENCE}=0: expected a number of seconds"), process_group():
        pass


def test_gradients_stay_in_their_groups():
    """Why, is told where it is set; the run of four processes in test_interruption.py is what fails without it."""
    assert wrapper_options(torch.device("cpu")) == {"device_ids": None, "find_unused_parameters": True}
    assert wrapper_options(torch.device("cuda", 3))["device_ids"] == [3]
