"""What befalls the processes that load images is told with names, and soon."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from itertools import chain
from types import SimpleNamespace

import psutil
import pytest
import torch
from torch.utils.data import Dataset

from pacavit.errors import PacavitError
from pacavit.training.loading import PATIENCE, Batches
from pacavit.training.stream import SampleStream

RECIPE = SimpleNamespace(global_batch=4, micro_batch=2, workers=1)


class Images(Dataset):
    """Twelve images, of which one does something."""

    def __init__(self, special, what):
        self.special, self.what = special, what

    def __len__(self):
        return 12

    def __getitem__(self, index):
        if index == self.special:
            self.what()
        return torch.tensor(index)


def load_all(special=None, what=None, recipe=RECIPE, start=0):
    stream = SampleStream(Images(special, what), seed=0)
    with Batches(stream, recipe, start, 3, lambda index: f"{index}.jpg") as batches:
        return [next(batches).tolist() for _ in range(2 * (3 - start))]


def test_batches_are_the_streams_positions_from_an_update_on():
    stream = SampleStream(Images(None, None), seed=0)
    everything = [stream.index(position) for position in range(12)]
    assert list(chain(*load_all())) == everything
    assert list(chain(*load_all(start=2))) == everything[8:]
    assert not multiprocessing.active_children()


def test_an_update_names_the_images_of_all_processes():
    stream = SampleStream(Images(None, None), seed=0)
    batches = Batches(stream, RECIPE, 0, 3, lambda index: f"{index}.jpg")
    assert batches.names(1) == [f"{stream.index(position)}.jpg" for position in range(4, 8)]


def test_a_fault_is_told_with_the_images_of_the_update_at_hand():
    stream = SampleStream(Images(None, None), seed=0)
    batches = Batches(stream, RECIPE, 1, 3, lambda index: f"{index}.jpg")
    batches._taken = 3  # of two micro-batches an update
    told = str(batches._explained("DataLoader worker is gone."))
    assert f"at update 2 (images {', '.join(batches.names(2))}, …)" in told


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def refuse():
    raise PacavitError("seven.jpg: is broken; fetch it again")


def hang():
    time.sleep(60)


def test_a_loading_process_that_dies_is_told():
    with pytest.raises(
        PacavitError,
        match=r"(exited unexpectedly|killed by signal: Killed); it was at update \d \(images \d+.jpg",
    ):
        load_all(7, die)


def test_a_loading_process_that_hangs_is_told_and_ended(monkeypatch):
    monkeypatch.setenv(PATIENCE, "0.5")
    start = time.monotonic()
    with pytest.raises(
        PacavitError, match=r"timed out after 0.5 seconds; it was at update \d \(images \d+.jpg"
    ):
        load_all(7, hang)
    assert time.monotonic() - start < 30
    assert not multiprocessing.active_children()


def test_an_error_of_a_loading_process_is_one_line():
    with pytest.raises(PacavitError, match=r"^seven.jpg: is broken; fetch it again$"):
        load_all(7, refuse)


ENDLESS = """
import multiprocessing, time
from types import SimpleNamespace
from pacavit.training.loading import Batches
from pacavit.training.stream import SampleStream
recipe = SimpleNamespace(global_batch=4, micro_batch=2, workers=2)
with Batches(SampleStream([bytes(300_000)] * 100, 0), recipe, 0, 25, str, collate_fn=list) as batches:
    next(batches)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux", reason="Linux alone ends processes with their parent: run them there"
)
def test_loading_processes_end_with_a_training_that_is_killed():
    """They have more to hand over than a pipe holds, and each keeps the end open from which nobody reads."""
    training = subprocess.Popen([sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, text=True)
    children = [psutil.Process(int(pid)) for pid in training.stdout.readline().split()]
    training.kill()
    training.wait()
    training.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=10)
    for child in alive:
        child.kill()
    assert len(children) == 2
    assert not alive


LATE = """
import multiprocessing, os, time
from pathlib import Path
from pacavit.runtime.interruption import follow_the_training
def start(parent):
    while os.getppid() == parent:
        time.sleep(0.01)
    follow_the_training(0)
    Path("alive").touch()
multiprocessing.Process(target=start, args=(os.getpid(),)).start()
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(
    sys.platform != "linux", reason="Linux alone ends processes with their parent: run them there"
)
def test_a_loading_process_that_starts_after_its_training_was_killed_ends(tmp_path):
    # The pipe ends when the loading process has ended too.
    killed = subprocess.run([sys.executable, "-c", LATE], capture_output=True, cwd=tmp_path, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "alive").exists()


@pytest.mark.parametrize("value", ["0", "-3", "long"])
def test_a_wrong_patience_is_told(monkeypatch, value):
    monkeypatch.setenv(PATIENCE, value)
    with pytest.raises(PacavitError, match=f"{PATIENCE}={value}"):
        load_all()
