"""How long the miniature takes to an accuracy: patch-to-cluster attention against plain attention in its place."""

from __future__ import annotations

import contextlib
import io
import time
from pathlib import Path
from unittest import mock

import timm
import torch
from measuring import Figure
from miniature import SCALE, create_job, prepared

from pacavit import params
from pacavit.job import Job
from pacavit.runtime.seeds import seed_all
from pacavit.tracking import Run
from pacavit.training import pretrain

VARIANT, TOP1 = "test_pacavit", 85.0


class Timed(Run):
    """Notes when each epoch was validated, in processor time, which other programs do not change, and how well."""

    def __init__(self, work: Path) -> None:
        super().__init__(work)
        self.start = time.process_time()
        self.epochs: list[tuple[float, float]] = []

    def log(self, values: dict, step: int) -> None:
        self.epochs.append((time.process_time() - self.start, values["val/top1"]))
        super().log(values, step)

    def seconds_to(self, top1: float) -> float:
        """Return the processor time to the first epoch that reaches an accuracy; infinity if none does."""
        return next((seconds for seconds, reached in self.epochs if reached >= top1), float("inf"))


def measure(rounds: int) -> list[Figure]:
    """Train both by the miniature's recipe, with a seed a round; a training takes a minute or two."""
    found: dict[str, list[float]] = {"clusters": [], "plain": []}
    reached: dict[str, list[float]] = {"clusters": [], "plain": []}
    with prepared(["imagenet"]):
        for seed in range(max(2, rounds // 2)):
            for kind in ("clusters", "plain") if seed % 2 else ("plain", "clusters"):
                run = _trained(kind, seed)
                found[kind].append(run.seconds_to(TOP1))
                reached[kind].append(max(top1 for _, top1 in run.epochs))
    faster = [plain / own for own, plain in zip(found["clusters"], found["plain"], strict=True)]
    return [
        Figure(f"miniature to {TOP1:g} % top-1, {VARIANT} against plain attention", faster),
        *(
            Figure(f"miniature to {TOP1:g} % top-1, {kind}", values, "s of a processor")
            for kind, values in found.items()
        ),
        *(Figure(f"miniature, best top-1, {kind}", values, "%") for kind, values in reached.items()),
    ]


def _trained(kind: str, seed: int) -> Timed:
    """Train one of the two, from images to weights, and return when it was how good."""
    run = Timed(Path("work", f"{kind}-{seed}"))
    job = create_job("pretrain", run, params.load(SCALE), {"variant": VARIANT, "seed": seed})
    model = mock.patch.object(pretrain, "create_model", _plain if kind == "plain" else pretrain.create_model)
    with model, contextlib.redirect_stdout(io.StringIO()):
        pretrain.pretrain(job)
    return run


def _plain(job: Job, num_classes: int, drop_path: float) -> torch.nn.Module:
    seed_all(int(job.names["seed"]))
    return timm.create_model(
        VARIANT, num_classes=num_classes, drop_path_rate=drop_path, num_clusters=(0, 0, 0, 0)
    )
