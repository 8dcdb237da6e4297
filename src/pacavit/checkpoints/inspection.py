"""What a file of weights holds, and how it fits the model that it should."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from pacavit.checkpoints.tables import (
    Contents,
    Head,
    Task,
    contents,
    create_model,
    expected_state,
    is_of_paca,
)
from pacavit.errors import PacavitError
from pacavit.params.targets import Model
from pacavit.weights.fit import Fit, not_finite, require_finite
from pacavit.weights.reader import Checkpoint, read


@dataclass(frozen=True)
class Inspection:
    """A file, what it holds, and how that fits the first of the variants it may be of.

    Attributes:
        path: the file.
        checkpoint: its weights.
        contents: which model they are of.
        fit: how they fit that model.
        not_finite: number of values that are NaN or infinite, of the keys that have some.
    """

    path: Path
    checkpoint: Checkpoint
    contents: Contents
    fit: Fit
    not_finite: dict[str, int]

    def problems(self) -> int:
        """Return how many keys do not fit, or fit and hold numbers that are not finite."""
        return len(self.fit.problems()) + len(self.not_finite)

    def require(self) -> None:
        """Do nothing if the weights fit and are finite.

        Raises:
            PacavitError: they do not or are not.
        """
        self.fit.require(self.path, f"{self.contents.variants[0]} for {self.contents.task}")
        require_finite(self.path, self.checkpoint.weights)

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
        total = len(fit.matched) + len(fit.missing) + len(fit.misfit) + len(fit.mistyped)
        lines = [
            f"file      {self.path}",
            f"weights   {len(weights)} tensors, {size:,} values; {held}, {kind}",
            f"task      {task}, {classes}",
            f"variant   {first}{alike}",
            f"clusters  {', '.join(map(str, found.clusters)) or 'none'}",
            f"fit       {len(fit.matched)} of the model's {total} keys, {self.problems()} problems",
        ]
        lines += [f"missing   {key}" for key in fit.missing]
        lines += [f"unknown   {key}" for key in fit.unknown]
        lines += [
            f"misfit    {key}: {theirs} in the file, {own} in the model"
            for key, (theirs, own) in fit.misfit.items()
        ]
        lines += [
            f"mistyped  {key}: {theirs} in the file, {own} in the model"
            for key, (theirs, own) in fit.mistyped.items()
        ]
        lines += [
            f"infinite  {key}: {count} of {weights[key].numel()} values are NaN or infinite"
            for key, count in self.not_finite.items()
        ]
        return "\n".join(lines)


def inspect(
    path: Path,
    variant: Model | str | None = None,
    task: Task | None = None,
    head: Head | None = None,
    ema: bool = False,
) -> Inspection:
    """Read a file and compare it with a model; what the arguments leave open is told from its keys and shapes.

    Of models that are no PaCa-ViT the variant has to be given.

    Raises:
        PacavitError: the file cannot be read, no such variant, or a file of another model and no variant.
    """
    checkpoint = read(path, ema)
    if variant is None and not is_of_paca(checkpoint.weights):
        raise PacavitError(
            f"{path}: its keys are not those of a PaCa-ViT, the only model that is told by them; name the variant with "
            "--model, and the scale whose targets.yaml has it with --scale"
        )
    found = contents(checkpoint.weights, variant, task, head)
    fit = Fit.of(expected_state(checkpoint.weights, found), checkpoint.weights)
    return Inspection(path, checkpoint, found, fit, not_finite(checkpoint.weights))


def restore(path: Path, variant: Model | str | None = None) -> tuple[torch.nn.Module, Contents]:
    """Return the model of a file, in evaluation mode, with the weights of the file, and what the file holds.

    The model is the whole one of its task: its backbone is the model itself or ``backbone`` of it.

    Raises:
        PacavitError: the file cannot be read, does not fit or holds numbers that are not finite, or no such variant.
    """
    found = inspect(path, variant)
    found.require()
    model = create_model(found.checkpoint.weights, found.contents)
    model.load_state_dict(found.checkpoint.weights)
    return model.eval(), found.contents
