"""A training that is asked to end saves its state, says so by its exit code, and ends as if nothing had been."""

import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import suppress

import pandas as pd
import pytest
import torch

from pacavit.cli import main
from pacavit.errors import INTERRUPT_EXIT, REQUEUE_EXIT, PacavitError, TrainingInterruptedError
from pacavit.files import sha256
from pacavit.runtime import interruption, slurm
from pacavit.runtime.interruption import BUDGET, Interruption, follow_the_training
from pacavit.training import checkpoint, coco, pretrain
from pages import shorten

CPU = torch.device("cpu")


def finetune_ade20k(job):
    from pacavit.training import ade20k

    ade20k.finetune(job)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_is_noted_and_the_handlers_are_put_back(number):
    before = signal.getsignal(number)
    with Interruption() as interrupted:
        assert interrupted.reason(CPU) == 0
        os.kill(os.getpid(), number)
        assert interrupted.reason(CPU) == number
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_ends_at_once_and_a_second_sigterm_does_not():
    with Interruption() as interrupted:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupted.reason(CPU) == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_time_ends_by_the_budget_or_before_the_job_of_the_scheduler(monkeypatch):
    assert Interruption().reason(CPU) == 0
    monkeypatch.setenv(BUDGET, "0")
    assert Interruption().reason(CPU) == signal.SIGALRM
    monkeypatch.setenv(BUDGET, "1000")
    assert Interruption().reason(CPU) == 0
    # A tenth of the limit, and five minutes at most, are left for the last update and its state.
    for limit, left, reason in (
        (100, 12, 0),
        (100, 8, signal.SIGALRM),
        (90000, 310, 0),
        (90000, 290, signal.SIGALRM),
    ):
        monkeypatch.setattr(slurm, "time_left", lambda left=left, limit=limit: (left, limit))
        assert Interruption().reason(CPU) == reason, (limit, left)


def test_a_scheduler_that_does_not_answer_stops_no_training(monkeypatch, capsys):
    def silent():
        raise PacavitError("`squeue` gives no answer")

    monkeypatch.setattr(slurm, "time_left", silent)
    assert Interruption().reason(CPU) == 0
    assert "time limit is not known, SIGTERM alone will tell of it: `squeue` gives" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["-1", "soon", "inf", "nan"])
def test_a_wrong_budget_is_told(monkeypatch, value):
    monkeypatch.setenv(BUDGET, value)
    with pytest.raises(PacavitError, match=f"{BUDGET}={value}: expected a number of seconds"):
        Interruption()


@pytest.mark.parametrize(
    ("reason", "code"), [(signal.SIGINT, INTERRUPT_EXIT), (signal.SIGUSR1, REQUEUE_EXIT)]
)
def test_the_exit_code_tells_a_scheduler_from_a_person(monkeypatch, capsys, reason, code):
    def ended(*args, **kwargs):
        raise interruption.interrupted("pretrain", 7, reason)

    monkeypatch.setattr("pacavit.cli.cli", ended)
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == code
    assert (
        f"ended by {signal.Signals(reason).name} after update 7, whose state is saved"
        in capsys.readouterr().err
    )


def test_loading_processes_pass_over_what_asks_the_training_to_end(monkeypatch):
    monkeypatch.setattr(interruption, "end_with_the_parent", lambda parent: None)
    monkeypatch.setattr(multiprocessing, "parent_process", multiprocessing.current_process)
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    try:
        follow_the_training(0)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


TASKS = {
    "pretrain": (pretrain.pretrain, {}),
    "coco": (coco.finetune, {}),
    "ade20k": (finetune_ade20k, {"head": "paca"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_one_update_at_a_time_ends_with_the_same_bytes(create_job, monkeypatch, task):
    """A budget of nothing ends every attempt after one update, in the middle of epochs and before validations."""
    run, options = TASKS[task]
    whole = create_job(task, work="whole", **options)
    run(whole)
    expected = [sha256(whole.outputs[name]) for name in ("weights", "curve")]
    whole.outputs["weights"].unlink()
    updates = checkpoint.load_latest(whole.work)["step"]
    monkeypatch.setenv(BUDGET, "0")
    attempts = 0
    while not whole.outputs["weights"].exists():
        attempts += 1
        with suppress(TrainingInterruptedError):
            run(create_job(task, work="parts", **options))
        assert checkpoint.load_latest(whole.work.parent / "parts")["step"] == min(attempts, updates)
    # The last update ends an attempt too; the one after it has validation and outputs left to do.
    assert attempts == updates + 1
    assert [sha256(whole.outputs[name]) for name in ("weights", "curve")] == expected


@pytest.mark.slow
def test_several_processes_stop_after_the_same_update_and_go_on_exactly(create_job, project):
    """Four, since with more than two the order of a sum over processes has a say in its last bits."""
    job = create_job("pretrain")
    small = {
        "image_size": 32,
        "epochs": 2,
        "warmup_epochs": 1,
        "global_batch": 8,
        "micro_batch": 2,
        "workers": 1,
    }
    shorten(project / "params/mini/pretrain.yaml", **small)

    def attempt(**environment):
        command = [sys.executable, "-m", "pacavit", "pretrain", "test_pacavit"]
        environment = {**os.environ, "PACAVIT_PROCESSES": "4", "OMP_NUM_THREADS": "1", **environment}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=200
        )

    first = attempt(**{BUDGET: "0"})
    assert first.returncode == REQUEUE_EXIT, first.stderr[-2000:]
    assert "ended by the end of its time after update 1" in first.stderr
    second = attempt()
    assert second.returncode == 0, second.stderr[-2000:]
    assert "going on from update 1" in second.stdout
    resumed = sha256(job.outputs["weights"]), job.outputs["curve"].read_text()
    (work,) = (project / "work/pretrain").iterdir()
    for path in work.iterdir():
        path.unlink()
    assert attempt().returncode == 0
    assert (sha256(job.outputs["weights"]), job.outputs["curve"].read_text()) == resumed
    assert len(pd.read_csv(job.outputs["curve"])) == 2
