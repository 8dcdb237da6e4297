"""Jobs on a real Slurm that fail, are cancelled, lose their node or reach their limit, under `--profile slurm`."""

import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from cluster import run
from small_profile import ON_SLURM, take_profile

from clones import environment, small_clone, typed
from pacavit.files import sha256
from pacavit.runtime.interruption import BUDGET
from pages import change, shorten

pytestmark = pytest.mark.slow

WEIGHTS = "checkpoints/mini/pretrain/test_pacavit/seed0.safetensors"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A clone with the digits prepared, and a training that lasts some ten seconds after its first state."""
    folder = small_clone(tmp_path_factory.mktemp("clone") / "pro ject")
    take_profile(folder)
    change(folder / "params/mini/data.yaml", "imagenet.archives.train_images", 160)
    shorten(folder / "params/mini/pretrain.yaml", epochs=10, checkpoint_updates=10)
    typed(folder, "snakemake", "--cores", "2", "data/mini/imagenet")
    return folder


@pytest.fixture(scope="module")
def undisturbed(prepared, tmp_path_factory):
    """The hash of the weights that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "pro ject"
    shutil.copytree(prepared, folder)
    typed(folder, "snakemake", "--cores", "2", WEIGHTS)
    return sha256(folder / WEIGHTS)


@pytest.fixture
def clone(prepared, tmp_path):
    """A copy of the prepared clone, for one test."""
    return Path(shutil.copytree(prepared, tmp_path / "pro ject"))


@contextmanager
def training(folder, *options):
    """Snakemake with a training on the cluster that has saved a state, and the number of its job."""
    with open(folder / "printed", "w") as output:
        process = subprocess.Popen(
            [*ON_SLURM, WEIGHTS, *options], cwd=folder, env=environment(), stdout=output, stderr=output
        )
    try:
        wait_for(lambda: list(folder.glob("work/pretrain/*/*.pt")), process)
        (job,) = run("squeue", "--noheader", "--states=running", "--format=%i").split()
        yield process, job
    finally:
        process.terminate()
        process.wait(60)


def wait_for(found, process, seconds=200):
    until = time.monotonic() + seconds
    while not found():
        assert process.poll() is None, "ended too early"
        assert time.monotonic() < until, f"not found within {seconds} seconds"
        time.sleep(0.2)


def test_a_cancelled_training_saves_its_state_and_a_retry_ends_with_the_same_bytes(
    cluster, clone, undisturbed
):
    with training(clone) as (process, job):
        run("scancel", job)
        code = process.wait(300)
    printed = (clone / "printed").read_text()
    assert code == 0, printed
    assert "pretrain: ended by SIGTERM after update" in printed
    assert "going on from update" in words_of_jobs(clone)
    assert sha256(clone / WEIGHTS) == undisturbed


def test_a_training_whose_node_is_lost_moves_to_the_other_and_ends_with_the_same_bytes(
    cluster, clone, undisturbed
):
    """Slurm itself puts the job back into the queue, from which it takes it after ``cred_expire`` seconds."""
    with training(clone) as (process, job):
        lost = cluster.node_of(job)
        run("scontrol", "update", f"nodename={lost}", "state=down", "reason=test")
        code = process.wait(500)
    assert code == 0, (clone / "printed").read_text()
    words = words_of_jobs(clone)
    assert "going on from update" in words
    assert sha256(clone / WEIGHTS) == undisturbed


def words_of_jobs(folder):
    """Return what the training's attempts wrote."""
    return "".join(path.read_text() for path in folder.glob("logs/mini/pretrain/*"))


def test_a_training_ends_before_its_time_limit_with_its_state_saved(cluster, clone):
    shorten(clone / "params/mini/pretrain.yaml", epochs=10000)
    change(clone / "small/config.yaml", "set-resources.pretrain.runtime", 1)
    with training(clone, "--retries", "0") as (process, _):
        code = process.wait(300)
    printed = (clone / "printed").read_text()
    assert code == 1
    assert "pretrain: ended by the end of its time after update" in printed
    assert not (clone / WEIGHTS).exists()


def test_a_failing_job_shows_the_last_lines_of_its_log(cluster, clone, monkeypatch):
    monkeypatch.setenv(BUDGET, "soon")
    done = typed(clone, *ON_SLURM, WEIGHTS, "--retries", "0", check=False)
    assert done.returncode == 1
    assert f"pacavit: {BUDGET}=soon: expected a number of seconds" in done.stderr
    assert not (clone / WEIGHTS).exists()
