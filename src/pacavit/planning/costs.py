"""What each job of a target takes: processor time, memory and disk, each with where the figure comes from.

A forward pass takes two FLOPs a multiply-add, and a training step as much as three: the backward pass is twice it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pacavit import params
from pacavit.params.plan import Processor
from pacavit.pipeline import targets
from pacavit.pipeline.models import require
from pacavit.pipeline.table import Names
from pacavit.planning import amounts
from pacavit.planning.amounts import Amounts

_GIGABYTE = 1e9
#: Parameter, gradient and AdamW's two moments, in fp32.
_TRAINING_BYTES = 16
#: Training states that are kept, of parameters and two moments; a pretraining also keeps its best weights.
_STATES, _STATE_BYTES, _BEST_BYTES = 2, 12, 4
_TRAININGS = ("pretrain", "coco", "ade20k")
#: ADE20K is validated with the short side at the crop's size: 4:3 images on average.
_ADE20K_ASPECT = 4 / 3


#: What was counted of models, by task, variant, head and input.
Counts = Mapping[tuple[str, str, str, str], Mapping[str, Any]]


@dataclass(frozen=True)
class Cost:
    """What one job takes.

    Attributes:
        stage, names: which job.
        processor_hours: least and most, over all its processors; zeros for a job on the CPU beside them.
        hours: least and most by the clock, on the given processors.
        processors: how many it uses.
        memory: peak of one processor, GB, least and most.
        host_memory: GB.
        disk: GB that it leaves, training states included.
        source: where the time comes from.
    """

    stage: str
    names: Mapping[str, str | int]
    processor_hours: tuple[float, float]
    hours: tuple[float, float]
    processors: int
    memory: tuple[float, float]
    host_memory: float
    disk: float
    source: str


@dataclass(frozen=True)
class Machine:
    """What the plan is for."""

    name: str
    processor: Processor
    count: int


def costs(
    scale: str,
    given: params.Params,
    target: str,
    machine: Machine,
    known: Counts,
    data: Amounts | None = None,
) -> list[Cost]:
    """Return the cost of every job of a target, in the order of the stages.

    Args:
        scale: folder below ``params/``.
        given: its parameters.
        target: as of :func:`pacavit.pipeline.targets.jobs`.
        machine: what the plan is for.
        known: from :func:`counted`.
        data: how much the data are; as the pages state it without this.

    Raises:
        PacavitError: no such target, or a model that cannot be used.
    """
    jobs = targets.jobs(given.targets, target)
    require(given, jobs)
    models = Models(given, known)
    data = amounts.stated(given) if data is None else data
    return [_cost(given, stage, names, machine, models, data) for stage, names in jobs]


def _cost(
    given: params.Params, stage: str, names: Names, machine: Machine, models: Models, data: Amounts
) -> Cost:
    if stage.startswith(("archives_", "prepare_")):
        return data_cost(given, stage, names, data)
    task = {"pretrain": "imagenet"}.get(stage, stage.rpartition("_")[2])
    if stage in _TRAININGS:
        return _training_cost(given, stage, names, machine, models, data)
    if stage.startswith("evaluate_"):
        model = models.costs(task, str(names["variant"]), str(names.get("head", "")))
        images = data[task].images["val"]
        flops = 2 * model["multiply_adds"] * images * (_ADE20K_ASPECT if task == "ade20k" else 1)
        source = f"{model['multiply_adds'] / 1e9:.1f} G multiply-adds × 2 × {images:,} images"
        used = 1 if task == "imagenet" else machine.count
        return _on_processors(given, stage, names, task, flops, used, machine, source, (0.0, 0.0), 0.0)
    if stage == "clusters":
        # Seven passes over its hundred images, a second or a few each on one core.
        return Cost(
            stage, names, (0.0, 0.0), (0.2, 1.0), 0, (0.0, 0.0), 4.0, 0.01, "assumed: part of an hour"
        )
    return Cost(stage, names, (0.0, 0.0), (0.01, 0.03), 0, (0.0, 0.0), 2.0, 0.01, "assumed: minutes")


def data_cost(given: params.Params, stage: str, names: Names, data: Amounts) -> Cost:
    """Return the cost of providing or preparing a data set."""
    step, dataset = stage.split("_")
    size, images = data[dataset].gigabytes, sum(data[dataset].images.values())
    if step == "archives":
        return Cost(stage, names, (0.0, 0.0), (0.0, 0.05), 0, (0.0, 0.0), 0.3, size, data[dataset].source)
    hours = images / given.plan.prepare_images_per_s / 3600
    source = f"{images:,} images at {given.plan.prepare_images_per_s:.0f}/s and core, {given.plan.cores} cores to one"
    return Cost(stage, names, (0.0, 0.0), (hours / given.plan.cores, hours), 0, (0.0, 0.0), 1.0, size, source)


def _training_cost(
    given: params.Params, stage: str, names: Names, machine: Machine, models: Models, data: Amounts
) -> Cost:
    task = "imagenet" if stage == "pretrain" else stage
    recipe = getattr(given, stage).recipe
    model = models.costs(task, str(names["variant"]), str(names.get("head", "")))
    images, validations = _images_and_validations(given, stage, data)
    validated = validations * data[task].images["val"] * (_ADE20K_ASPECT if stage == "ade20k" else 1)
    flops = 2 * model["multiply_adds"] * (3 * images + validated)
    step = f"{model['multiply_adds'] / 1e9:.1f} G multiply-adds × 2"
    source = f"{step} × (3 × {images:,} images + {validated:,.0f} validated)"
    used = min(machine.count, recipe.global_batch // recipe.micro_batch)
    fixed = model["parameters"] * _TRAINING_BYTES / _GIGABYTE
    activations = model["activations"] * recipe.micro_batch / _GIGABYTE
    state = _STATE_BYTES + (_BEST_BYTES if stage == "pretrain" else 0)
    disk = model["parameters"] * (4 + _STATES * state) / _GIGABYTE
    memory = (fixed + activations / 2, fixed + activations)
    return _on_processors(given, stage, names, task, flops, used, machine, source, memory, disk)


def _on_processors(
    given: params.Params,
    stage: str,
    names: Names,
    task: str,
    flops: float,
    used: int,
    machine: Machine,
    source: str,
    memory: tuple[float, float],
    disk: float,
) -> Cost:
    low, high = getattr(given.plan.utilisation, task)
    peak = machine.processor.tflops * 1e12 * 3600
    total = (flops / (peak * high), flops / (peak * low))
    workers = getattr(given, stage).recipe.workers if stage in _TRAININGS else 4
    return Cost(
        stage,
        names,
        processor_hours=total,
        hours=(total[0] / used, total[1] / used),
        processors=used,
        memory=memory,
        host_memory=used * (2.0 + workers * given.plan.worker_gigabytes),
        disk=disk,
        source=f"{source}, at {low:g} to {high:g} of {machine.processor.tflops:g} TFLOP/s",
    )


def _images_and_validations(given: params.Params, stage: str, data: Amounts) -> tuple[int, int]:
    recipe = getattr(given, stage).recipe
    if stage == "ade20k":
        return recipe.updates * recipe.global_batch, -(-recipe.updates // recipe.validate_updates)
    dataset = "imagenet" if stage == "pretrain" else stage
    batches = max(1, data[dataset].images["train"] // recipe.global_batch)
    every = 1 if stage == "pretrain" else recipe.validate_epochs
    return recipe.epochs * batches * recipe.global_batch, -(-recipe.epochs // every)


def counted(path: Path) -> Counts:
    """Return what the stage ``complexity`` wrote of each model, nothing if it has not run."""
    models = json.loads(path.read_text())["models"] if path.exists() else []
    return {(m["task"], m["variant"], m["head"], m["input"]): m for m in models}


class Models:
    """Parameters, multiply-adds of an image, and bytes of activations of one image in training, in fp32.

    Counted on the meta device, each model once.

    Args:
        given: parameters of a scale.
        known: from :func:`counted`.
    """

    def __init__(self, given: params.Params, known: Counts) -> None:
        self._given = given
        self._known = known
        self._costs: dict[tuple[str, str, str], dict[str, float]] = {}

    def costs(self, task: str, variant: str, head: str) -> dict[str, float]:
        """Return ``parameters``, ``multiply_adds`` and ``activations`` of a model."""
        if (task, variant, head) not in self._costs:
            self._costs[task, variant, head] = self._count(task, variant, head)
        return self._costs[task, variant, head]

    def _count(self, task: str, variant: str, head: str) -> dict[str, float]:
        from pacavit.claims import complexity
        from pacavit.planning.memory import activation_bytes
        from pacavit.published import Counted

        size = _size(self._given, task)
        known = {} if variant in self._given.targets.models else self._known
        found = known.get((task, variant, head, "{}x{}".format(*size)))
        if found is None:
            found = complexity.measure_variant(Counted(task, variant, head, size), self._given)
        return {
            "parameters": found["parameters"],
            "multiply_adds": found["multiply_adds"],
            "activations": activation_bytes(self._given.targets.model(variant), size),
        }


def _size(given: params.Params, task: str) -> tuple[int, int]:
    """Return height and width of an image in training, the largest for COCO, at which the papers count."""
    if task == "imagenet":
        return given.pretrain.recipe.image_size, given.pretrain.recipe.image_size
    if task == "coco":
        side = given.coco.recipe.test_side
        return side, side * 8 // 5
    return given.ade20k.recipe.crop, given.ade20k.recipe.crop
