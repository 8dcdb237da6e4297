"""What a training asks of Slurm, of stand-ins for its programs; ``tests/slurm`` asks a real one."""

import os
import sys

import pytest

from pacavit.errors import PacavitError
from pacavit.runtime.slurm import Node, start_on_every_node, this_node, time_left


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A function that makes one of Slurm's programs print a text."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for name in [name for name in os.environ if name.startswith(("SLURM_", "MASTER_"))]:
        monkeypatch.delenv(name)

    def create(name, text, code=0):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\necho '{text}'\nexit {code}\n")
        path.chmod(0o755)

    return create


@pytest.fixture
def became(monkeypatch):
    """The program and words that this process would have become."""
    commands = []
    monkeypatch.setattr(os, "execvp", lambda program, words: commands.append((program, *words)))
    return commands


def test_a_job_on_several_nodes_becomes_srun_with_one_start_a_node(program, became, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    program("squeue", "3")
    start_on_every_node(["pretrain", "paca_tiny"])
    ((name, *words),) = became
    assert name == words[0] == "srun"
    assert {"--nodes=3", "--ntasks=3", "--ntasks-per-node=1"} <= set(words)
    assert words[-5:] == [sys.executable, "-m", "pacavit", "pretrain", "paca_tiny"]


def test_outside_of_slurm_on_one_node_and_within_a_step_nothing_is_started(program, became, monkeypatch):
    start_on_every_node([])
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    program("squeue", "1")
    start_on_every_node([])
    program("squeue", "2")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    start_on_every_node([])
    assert became == []


def test_a_slurm_that_does_not_answer_is_told(program, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    program("squeue", "", code=1)
    with pytest.raises(PacavitError, match="`squeue .*--jobs=7.*` gives no answer.*unset SLURM_JOB_ID"):
        start_on_every_node([])


@pytest.fixture
def step(program, monkeypatch):
    """This process as the second of three that srun started, one a node."""
    program("scontrol", "NodeName=n1 NodeAddr=10.0.0.5 NodeHostName=n1 Port=1")
    values = {
        "JOB_ID": 12345,
        "NODEID": 1,
        "STEP_NODELIST": "n[1-3]",
        "STEP_NUM_NODES": 3,
        "STEP_NUM_TASKS": 3,
    }
    for name, value in values.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))


def test_nodes_meet_where_slurm_reaches_the_first(step):
    assert this_node() == Node(number=1, nodes=3, address="10.0.0.5", port=22345)


def test_a_meeting_that_is_asked_for_is_kept(step, monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "other")
    monkeypatch.setenv("MASTER_PORT", "5")
    assert this_node() == Node(number=1, nodes=3, address="other", port=5)


def test_a_single_node_is_none(step, monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", "1")
    assert this_node() is None


def test_several_starts_a_node_are_refused(step, monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "24")
    with pytest.raises(PacavitError, match="24 tasks on 3 nodes: expected one a node"):
        this_node()


@pytest.mark.parametrize(
    ("printed", "seconds"),
    [
        ("9:58 10:00", (598, 600)),
        ("1:00:00 2-00:00:00", (3600, 172800)),
        ("UNLIMITED UNLIMITED", None),
        ("INVALID 1:00", None),
    ],
)
def test_the_time_that_a_job_has_left(program, monkeypatch, printed, seconds):
    assert time_left() is None
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    program("squeue", printed)
    assert time_left() == seconds


@pytest.mark.parametrize("answer", ["", "1\n2"])
def test_an_answer_that_is_no_number_of_nodes_is_told(program, became, monkeypatch, answer):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    program("squeue", answer)
    with pytest.raises(PacavitError, match="squeue says that job 7 has"):
        start_on_every_node(["pretrain", "paca_tiny"])


@pytest.mark.parametrize("answer", ["", "10:00 20:00\n10:00 20:00"])
def test_an_answer_that_is_no_time_is_no_limit(program, monkeypatch, answer):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    program("squeue", answer)
    assert time_left() is None
