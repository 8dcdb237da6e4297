"""A pretraining over two nodes of a real Slurm, started as one starts it by hand."""

import os
import subprocess
import sys

import pandas as pd
import pytest

from pacavit.errors import REQUEUE_EXIT
from pacavit.files import sha256
from pacavit.runtime.interruption import BUDGET
from pages import shorten

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "pacavit", "pretrain", "test_pacavit"]


@pytest.fixture
def job(create_job, project):
    """A pretraining of 15 updates, ready to be typed."""
    small = {
        "image_size": 32,
        "epochs": 5,
        "warmup_epochs": 1,
        "global_batch": 8,
        "micro_batch": 4,
        "workers": 1,
    }
    shorten(project / "params/mini/pretrain.yaml", **small)
    return create_job("pretrain")


def submit(**environment) -> tuple[int, str]:
    """Ask Slurm for two nodes and train there; return the training's exit code and what it printed."""
    environment = {
        **environment,
        "PACAVIT_PROCESSES": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
    }
    # As sbatch would run a script of this one line, but sbatch looks up to half a minute late whether it has ended.
    done = subprocess.run(
        ["salloc", "--nodes=2", "--ntasks=2", *COMMAND],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr


def alone() -> None:
    """Train in one process, on the same global batch."""
    environment = {**os.environ, "PACAVIT_PROCESSES": "1"}
    subprocess.run(COMMAND, env=environment, check=True, capture_output=True, timeout=300)


def test_two_nodes_follow_the_loss_of_one_process(cluster, job):
    code, log = submit()
    assert code == 0, log
    two = pd.read_csv(job.outputs["curve"])
    for path in job.outputs.values():
        path.unlink()
    for path in next((job.work.parent / "work/pretrain").iterdir()).iterdir():
        path.unlink()
    alone()
    one = pd.read_csv(job.outputs["curve"])
    assert list(two["step"]) == list(one["step"]) == [3, 6, 9, 12, 15]
    # They add the same gradients in another order.
    difference = (two["train_loss"] - one["train_loss"]).abs().max()
    print(f"largest difference of the loss, two nodes against one process: {difference:.1e}")
    assert difference < 1e-4


def test_two_nodes_that_are_interrupted_end_with_the_same_bytes(cluster, job):
    code, log = submit(**{BUDGET: "0"})
    assert code == REQUEUE_EXIT, log
    assert "ended by the end of its time after update 1" in log
    code, log = submit()
    assert code == 0, log
    assert "going on from update 1" in log
    resumed = sha256(job.outputs["weights"])
    for path in next((job.work.parent / "work/pretrain").iterdir()).iterdir():
        path.unlink()
    assert submit()[0] == 0
    assert sha256(job.outputs["weights"]) == resumed
