"""What a file of weights holds, and how it fits the model that it should."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from pacavit.checkpoints.tables import Contents, Head, Task, contents, create_model, expected_state
from pacavit.errors import PacavitError
from pacavit.weights.fit import Fit
from pacavit.weights.reader import Checkpoint, read


@dataclass(frozen=True)
class Inspection:
    """A file, what it holds, and how that fits the first of the variants it may be of."""

    path: Path
    checkpoint: Checkpoint
    contents: Contents
    fit: Fit

    def text(self) -> str:
        """Return the lines that a user reads; one for each key that does not fit."""
        weights, found, fit = self.checkpoint.weights, self.contents, self.fit
        held = f"entry {self.checkpoint.entry!r}" if self.checkpoint.entry else "bare"
        kind = "averaged (EMA)" if self.checkpoint.averaged else "plain"
        size = sum(value.numel() for value in weights.values())
        task = found.task + (f", {found.head} head" if found.head else "")
        classes = "no classifier" if found.classes is None else f"{found.classes} classes"
        first, *others = found.variants
        alike = f" (or {', '.join(others)}: they differ in numbers of clusters alone)" if others else ""
        total = len(fit.matched) + len(fit.missing) + len(fit.misfit)
        lines = [
            f"file      {self.path}",
            f"weights   {len(weights)} tensors, {size:,} values; {held}, {kind}",
            f"task      {task}, {classes}",
            f"variant   {first}{alike}",
            f"clusters  {', '.join(map(str, found.clusters))}",
            f"fit       {len(fit.matched)} of the model's {total} keys, {len(fit.problems())} problems",
        ]
        lines += [f"missing   {key}" for key in fit.missing]
        lines += [f"unknown   {key}" for key in fit.unknown]
        lines += [
            f"misfit    {key}: {theirs} in the file, {own} in the model"
            for key, (theirs, own) in fit.misfit.items()
        ]
        return "\n".join(lines)


def inspect(
    path: Path,
    variant: str | None = None,
    task: Task | None = None,
    head: Head | None = None,
    ema: bool = False,
) -> Inspection:
    """Read a file and compare it with a model; what the arguments leave open is told from its keys and shapes.

    Raises:
        PacavitError: the file cannot be read, or no such variant.
    """
    checkpoint = read(path, ema)
    found = contents(checkpoint.weights, variant, task, head)
    fit = Fit.of(expected_state(checkpoint.weights, found), checkpoint.weights)
    return Inspection(path, checkpoint, found, fit)


def require_finite(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Do nothing if all weights are finite.

    Raises:
        PacavitError: one is not; it is named.
    """
    for key, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise PacavitError(
                f"{path}: {key} is not finite; take weights of an earlier state or train again"
            )


def restore(path: Path, variant: str | None = None) -> tuple[torch.nn.Module, Contents]:
    """Return the model of a file, in evaluation mode, with the weights of the file, and what the file holds.

    The model is the whole one of its task: its backbone is the model itself or ``backbone`` of it.

    Raises:
        PacavitError: the file cannot be read, does not fit or holds numbers that are not finite, or no such variant.
    """
    found = inspect(path, variant)
    found.fit.require(path, f"{found.contents.variants[0]} for {found.contents.task}")
    require_finite(path, found.checkpoint.weights)
    model = create_model(found.checkpoint.weights, found.contents)
    model.load_state_dict(found.checkpoint.weights)
    return model.eval(), found.contents
