"""Weights to predict with, and the names of their classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pacavit import params
from pacavit.checkpoints.tables import Head, Task, contents, guess_task
from pacavit.data.ade20k import outputs
from pacavit.data.classes import Classes, read_names
from pacavit.errors import PacavitError
from pacavit.files import MANIFEST
from pacavit.params.targets import Model
from pacavit.pipeline import targets
from pacavit.weights import Fit, read, require_finite


@dataclass(frozen=True)
class Trained:
    """The weights of a file, and all that says which model they are of."""

    path: Path
    weights: dict[str, Tensor]
    task: Task
    model: Model
    head: Head | None
    scale: str
    params: params.Params
    classes: Classes

    def into(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Return the model with the weights in it, on the device and ready to predict.

        Raises:
            PacavitError: a key is missing, unknown or of another shape.
        """
        head = f" with the {self.head} head" if self.head else ""
        wanted = f"{self.model.variant} for {self.task}{head} at scale {self.scale}"
        Fit.of(model.state_dict(), self.weights).require(self.path, wanted)
        model.load_state_dict(self.weights)
        return model.to(device).eval()


def take(
    path: Path, task: Task, variant: str, head: Head | None, scale: str, class_file: Path | None
) -> Trained:
    """Read a file of weights and the names of its classes.

    Args:
        path: any file that :func:`pacavit.checkpoints.read` takes.
        task: what it predicts.
        variant: of the scale, or a registered name.
        head: of a segmentor; None tells it from the weights.
        scale: whose parameters it was trained with.
        class_file: names of the classes, a line each; None takes those of the scale's prepared data set.

    Raises:
        PacavitError: the weights cannot be read, are not finite or of another task, or the classes are not known or not
            as many.
    """
    given = params.load(scale)
    weights = read(path).weights
    if (held := guess_task(weights)) != task:
        raise PacavitError(f"{path}: holds a model for {held}, not for {task}; predict {held} with it")
    model = given.targets.model(variant)
    found = contents(weights, model, task, head)
    if task == "ade20k":
        params.select(given, ("ade20k:variants.{variant}",), variant=variant)
    if found.classes is None:
        raise PacavitError(f"{path}: holds no classifier; give the weights of a whole model for {task}")
    require_finite(path, weights)
    classes = read_classes(task, scale, class_file)
    if len(classes) != found.classes:
        source = class_file or _prepared(task, scale)
        raise PacavitError(
            f"{source}: {len(classes)} classes, but {path} has {found.classes}; give the names of those that it was "
            "trained on with --classes FILE, a line each"
        )
    return Trained(path, weights, task, model, found.head, scale, given, classes)


def read_classes(task: Task, scale: str, file: Path | None) -> Classes:
    """Return the classes of a file, a name a line, or of the prepared data set of a scale.

    Raises:
        PacavitError: the file cannot be read, or there is neither a file nor a prepared data set.
    """
    if file is not None:
        names = read_names(file)
        if task == "ade20k":
            names, first = outputs(names)
            return Classes(names, range(first, first + len(names)))
        return Classes.numbered(task, names)
    folder = _prepared(task, scale)
    if not (folder / MANIFEST).is_file():
        raise PacavitError(
            f"{folder}: no prepared data set there to take the class names from; give them with --classes FILE, a line "
            f"each, or run `pacavit prepare {task} --scale {scale}`"
        )
    return Classes.of(folder)


def _prepared(task: Task, scale: str) -> Path:
    return targets.path(f"prepare_{task}.data", scale)
