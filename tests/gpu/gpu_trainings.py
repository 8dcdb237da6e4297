"""The miniature's trainings as the tests of this folder run them: whole, or cut short in the middle."""

import itertools
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load_file

from pacavit.errors import TrainingInterruptedError
from pacavit.files import sha256
from pacavit.runtime.interruption import Interruption
from pacavit.training import ade20k, checkpoint, coco, pretrain

#: By task, or by head: the function that trains, and further arguments of ``create_job``.
TRAININGS = {
    "pretrain": (pretrain.pretrain, "pretrain", {}),
    "coco": (coco.finetune, "coco", {}),
    "paca": (ade20k.finetune, "ade20k", {"head": "paca"}),
    "upernet": (ade20k.finetune, "ade20k", {"head": "upernet"}),
}


@dataclass(frozen=True)
class Trained:
    """What a training left: its last state, and the hashes of weights and curve."""

    state: dict[str, Any]
    hashes: tuple[str, str]

    @property
    def weights(self) -> torch.Tensor:
        """Return all weights as one vector in double precision."""
        return torch.cat([value.double().flatten() for value in self.state["model"].values()])

    @property
    def scaler(self) -> dict[str, Any]:
        """Return the state of the gradient scaler; empty without one."""
        return self.state.get("scaler") or self.state["optimizer"].get("loss_scaler") or {}


def run(create_job, name: str, work: str, **recipe: Any) -> Trained:
    """Train to the end, from the last state in the work folder if there is one."""
    train, stage, options = TRAININGS[name]
    job = create_job(stage, work=work, **options, **recipe)
    train(job)
    assert all(value.isfinite().all() for value in load_file(job.outputs["weights"]).values())
    hashes = sha256(job.outputs["weights"]), sha256(job.outputs["curve"])
    return Trained(checkpoint.load_latest(job.work), hashes)


def run_in_two(create_job, monkeypatch, name: str, work: str, after: int, **recipe: Any) -> Trained:
    """Let SIGTERM end the training after an update, and go on from there to the end."""
    train, stage, options = TRAININGS[name]
    updates = itertools.count(1)
    with monkeypatch.context() as patch:
        patch.setattr(
            Interruption, "reason", lambda self, device: signal.SIGTERM if next(updates) == after else 0
        )
        job = create_job(stage, work=work, **options, **recipe)
        with suppress(TrainingInterruptedError):
            train(job)
        assert checkpoint.load_latest(job.work)["step"] == after
    return run(create_job, name, work, **recipe)
