"""A step of Mask R-CNN and of a segmentation head by its parts, and how long each task's training waits for data."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import timm
import torch
from measuring import Figure
from miniature import create_job, prepared
from safetensors.torch import save_file

import pacavit.models  # noqa: F401, registers the variants
from pacavit import params
from pacavit.job import Job
from pacavit.openmmlab.models import scoped
from pacavit.runtime.interruption import Interruption
from pacavit.runtime.progress import Progress
from pacavit.tasks import TASKS
from pacavit.tracking import Run
from pacavit.training import ade20k, coco, pretrain
from pacavit.training.finetuning import DenseTraining, FineTuning
from pacavit.training.loading import Batches

#: Whose parameters are taken, and of which variant.
SCALE, VARIANT = "paper", "pacavit_tiny_p2cconv_100_0"
CPU = torch.device("cpu")
#: Methods of a model whose time is shown; what they call is in theirs.
PARTS = {
    "coco": {
        "backbone": "backbone.forward",
        "pyramid": "neck.forward",
        "proposals and their loss": "rpn_head.loss_and_predict",
        "regions and their losses": "roi_head.loss",
    },
    "ade20k": {"backbone": "backbone.forward", "head and its losses": "decode_head.loss"},
}
#: What the task's model has besides, by head.
HEADS = {"paca": {}, "upernet": {"auxiliary head and its loss": "auxiliary_head.loss"}}
WARM = 2


class Parts:
    """Seconds by part of the updates of one training, a list of them by name.

    Args:
        wait: called before the clock is read, for a device that works while the program goes on.
    """

    def __init__(self, wait: Callable[[], None] = lambda: None) -> None:
        self._wait = wait
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._current: dict[str, float] = defaultdict(float)
        self._start = time.perf_counter()

    def timed(self, name: str, function: Callable) -> Callable:
        """Return the function, whose time counts to a part."""

        @functools.wraps(function)
        def call(*args: object, **kwargs: object) -> object:
            self._wait()
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self._wait()
                self._current[name] += time.perf_counter() - start

        return call

    def end_update(self) -> None:
        """Close the account of an update, with what no part has as the rest."""
        now = time.perf_counter()
        total = now - self._start
        for name, value in self._current.items():
            self.seconds[name].append(value)
        self.seconds["rest"].append(total - sum(self._current.values()))
        self.seconds["update"].append(total)
        self._current.clear()
        self._start = now

    def share(self, name: str) -> list[float]:
        """Return the part's share of each update in percent, without the first ones."""
        pairs = zip(self.seconds[name], self.seconds["update"], strict=True)
        return [100 * value / total for value, total in pairs][WARM:]


def measure(rounds: int) -> list[Figure]:
    """Train each task for some updates by the paper's recipe with two images an update, on the miniature's scenes."""
    figures = []
    with prepared(TASKS):
        weights = Path("pretrained.safetensors")
        save_file(timm.create_model(VARIANT).state_dict(), weights)
        for task in PARTS:
            parts = finetuned(task, "paca", weights, rounds + WARM)
            figures.append(Figure(f"{task}, update of two images", parts.seconds["update"][WARM:], "s"))
            figures += [
                Figure(f"{task}, {name}", parts.share(name), "%")
                for name in parts.seconds
                if name not in ("update", "waiting for data")
            ]
            figures.append(_waiting(task, parts))
        figures.append(_waiting("imagenet", pretrained(rounds + WARM)))
    return figures


def _waiting(task: str, parts: Parts) -> Figure:
    return Figure(f"{task}, waiting for data", parts.share("waiting for data"), "%")


def finetuned(
    task: str,
    head: str,
    weights: Path,
    updates: int,
    device: torch.device = CPU,
    wait: Callable[[], None] | None = None,
) -> Parts:
    """Fine-tune one task and return the time of its parts.

    Args:
        task: of :data:`PARTS`.
        head: of :data:`HEADS`, for segmentation.
        weights: of the backbone.
        updates: how many.
        device: to train on.
        wait: of :class:`Parts`; without it only updates and their waits are timed on a GPU.
    """
    segments = task == "ade20k"
    names = {"variant": VARIANT, "seed": 0} | ({"head": head} if segments else {})
    # A run of each kind begins anew.
    run = Run(Path("work", f"{task}-{head}-{'parts' if wait else 'whole'}"))
    job = create_job(task, run, _small(task, device), names, {"pretrained": weights})
    described = ade20k.describe(job, "BN") if segments else coco.describe(job)
    described = dataclasses.replace(
        described, updates=updates, validate_updates=updates, validate=lambda model: {}
    )
    watched = PARTS[task] | (HEADS[head] if segments else {})
    with _watched(wait) as parts:
        _train(job, described, watched if wait or device == CPU else {}, parts, device)
    return parts


def _train(job: Job, task: FineTuning, names: dict[str, str], parts: Parts, device: torch.device) -> None:
    with scoped(task.scope), contextlib.redirect_stdout(io.StringIO()):
        training = DenseTraining(job, task, device)
        if not names:
            training.run(Interruption())
            return
        for name, path in {"images": "data_preprocessor.forward", **names}.items():
            _time(training.model, path, name, parts)
        _time(training.optimizer, "step", "AdamW", parts)
        with mock.patch.object(torch.Tensor, "backward", parts.timed("backward pass", torch.Tensor.backward)):
            training.run(Interruption())


def _time(owner: object, path: str, name: str, parts: Parts) -> None:
    *attributes, method = path.split(".")
    owner = functools.reduce(getattr, attributes, owner)
    setattr(owner, method, parts.timed(name, getattr(owner, method)))


def pretrained(updates: int, device: torch.device = CPU) -> Parts:
    """Pretrain for some updates and return how long they waited."""
    job = create_job(
        "pretrain", Run(Path("work", "pretrain")), _small("pretrain", device), {"variant": VARIANT, "seed": 0}
    )
    with _watched() as parts, contextlib.redirect_stdout(io.StringIO()):
        training = pretrain.Pretraining(job, device)
        training.updates = updates
        training.run(Interruption())
    return parts


def _small(page: str, device: torch.device) -> params.Params:
    """Return the paper's parameters with updates of one batch.

    On a processor it is one that a processor can take, and one process loads it.
    """
    given = params.load(SCALE)
    whole = getattr(given, page)
    batch, workers = (8 if page == "pretrain" else 2), 1
    if device.type == "cuda":
        batch, workers = whole.recipe.micro_batch, whole.recipe.workers
    recipe = whole.recipe.model_copy(update={"global_batch": batch, "micro_batch": batch, "workers": workers})
    return params.Params(**{**vars(given), page: whole.model_copy(update={"recipe": recipe})})


@contextlib.contextmanager
def _watched(wait: Callable[[], None] | None = None) -> Iterator[Parts]:
    """Take the time that updates wait for their batches, and note where each ends."""
    parts = Parts(wait or (lambda: None))

    def update(self: Progress, **shown: float) -> None:
        parts.end_update()

    waited = parts.timed("waiting for data", Batches.__next__)
    with mock.patch.object(Batches, "__next__", waited), mock.patch.object(Progress, "update", update):
        yield parts
