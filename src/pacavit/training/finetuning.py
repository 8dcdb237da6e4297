"""Fine-tuning of mmdetection's and mmsegmentation's models, with mmengine's schedules and groups of parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from mmengine.optim import DefaultOptimWrapperConstructor, build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, PARAM_SCHEDULERS
from torch import Tensor, nn
from torch.utils.data import Dataset

from pacavit.job import Job
from pacavit.openmmlab import models
from pacavit.openmmlab.models import Config, scoped
from pacavit.params.ade20k import Ade20kRecipe
from pacavit.params.coco import CocoRecipe
from pacavit.runtime.interruption import Interruption
from pacavit.training.loop import Training
from pacavit.training.stream import SampleStream, seed_all


@dataclass(frozen=True)
class FineTuning:
    """One fine-tuning, in the terms that the tasks share.

    Attributes:
        scope: ``mmdet`` or ``mmseg``.
        model: configuration of the model.
        dataset: training images through the training pipeline.
        updates: how many in all.
        recipe: batches, rates and intervals.
        custom_keys: multipliers by part of a parameter's name, as mmengine takes them.
        decay: the schedule of the learning rate after the warm-up, as mmengine takes it.
        validate_updates: updates between two validations.
        validate: measures the model; all processes call it together, and the main one gets the values.
    """

    scope: str
    model: Config
    dataset: Dataset
    updates: int
    recipe: CocoRecipe | Ade20kRecipe
    custom_keys: dict[str, Config]
    decay: Config
    validate_updates: int
    validate: Callable[[nn.Module], dict[str, float | None]]


def finetune(job: Job, task: FineTuning, device: torch.device) -> dict[str, Tensor]:
    """Train, going on from the last state in the work folder, and return the final weights.

    Raises:
        PacavitError: the global batch cannot be shared, or the loss is not finite.
        TrainingInterruptedError: it was asked to end, and has saved its state.
    """
    interruption = Interruption()
    with scoped(task.scope):
        training = DenseTraining(job, task, device)
        training.run(interruption)
    return {key: value.detach().cpu().contiguous() for key, value in training.model.state_dict().items()}


class DenseTraining(Training):
    """A fine-tuning from its last state on; made and run inside :func:`~pacavit.openmmlab.models.scoped`.

    Args:
        job: names stage, variant, seed and work folder.
        task: what is trained, and how.
        device: of this process.
    """

    def __init__(self, job: Job, task: FineTuning, device: torch.device) -> None:
        self.task = task
        recipe = task.recipe
        seed_all(int(job.names["seed"]))
        model = models.build(task.model, task.scope).to(device)
        model.init_weights()
        optimizer = create_optimizer(task, model)
        super().__init__(job, recipe, model, optimizer, recipe.clip_grad, task.updates, device)
        self.schedules = create_schedules(task, optimizer)
        self.prepare(
            SampleStream(task.dataset, self.seed),
            lambda index: task.dataset.get_data_info(index)["img_path"],
            collate_fn=pseudo_collate,
        )

    def loss(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        """Return the losses of a batch, and their sum."""
        found = model(**self.model.data_preprocessor(batch, True), mode="loss")
        return self.model.parse_losses(found)[1]

    def set_rate(self) -> None:
        """Move the schedules on to the next update."""
        if self.step > self.schedules[0].last_step:
            for schedule in self.schedules:
                schedule.step()

    def logs(self) -> bool:
        """Return whether the recipe logs after the last update."""
        return self.step % self.task.recipe.log_updates == 0 or self.step == self.updates

    def validates(self) -> bool:
        """Return whether the recipe validates after the last update."""
        return self.step % self.task.validate_updates == 0 or self.step == self.updates

    def position(self) -> dict[str, int]:
        """Return nothing: a fine-tuning is counted in updates."""
        return {}

    def validate(self) -> dict[str, float | None]:
        """Measure the model."""
        return self.task.validate(self.model)

    def state(self) -> dict[str, Any]:
        """Return all that the next update depends on."""
        return {**super().state(), "schedules": [schedule.state_dict() for schedule in self.schedules]}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a state of :meth:`state`."""
        super().restore(state)
        for schedule, saved in zip(self.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(saved)


def create_optimizer(
    task: FineTuning, model: nn.Module, constructor: str = "GroupedOptimWrapperConstructor"
) -> torch.optim.Optimizer:
    """Return AdamW, with the task's multipliers of rate and decay."""
    recipe = task.recipe
    config = {
        "type": "OptimWrapper",
        "constructor": constructor,
        "optimizer": {
            "type": "AdamW",
            "lr": recipe.lr,
            "betas": tuple(recipe.betas),
            "weight_decay": recipe.weight_decay,
        },
        "paramwise_cfg": {"custom_keys": task.custom_keys},
    }
    return build_optim_wrapper(model, config).optimizer


def create_schedules(task: FineTuning, optimizer: torch.optim.Optimizer) -> list[Any]:
    """Return mmengine's schedules of the rate: the linear warm-up, if there is one, and the decay."""
    warmup = {
        "type": "LinearLR",
        "start_factor": task.recipe.warmup_start,
        "by_epoch": False,
        "begin": 0,
        "end": task.recipe.warmup_updates,
    }
    # mmengine refuses a warm-up of zero updates.
    configs = [warmup, task.decay] if task.recipe.warmup_updates else [task.decay]
    return [PARAM_SCHEDULERS.build({**config, "optimizer": optimizer}) for config in configs]


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GroupedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, with one group for all parameters of the same options in place of a group each.

    Torch goes through the groups one after the other, which small models notice; the weights stay the same, bit by bit.
    """

    def add_params(
        self,
        params: list[dict[str, Any]],
        module: nn.Module,
        prefix: str = "",
        is_dcn_module: float | None = None,
    ) -> None:
        """Add the parameter groups of a module, merged once those of the whole model are there."""
        super().add_params(params, module, prefix, is_dcn_module)
        if prefix:
            return
        merged: dict[tuple, dict[str, Any]] = {}
        for group in params:
            options = tuple(sorted((key, value) for key, value in group.items() if key != "params"))
            merged.setdefault(options, {**group, "params": []})["params"] += group["params"]
        params[:] = merged.values()
