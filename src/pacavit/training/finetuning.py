"""Fine-tuning on mmengine's runner, exact under interruption.

The runner's own loop loads every batch that a resumed run skips, and its checkpoint hook writes straight to the
final name; the loop and the hook here do neither.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import HOOKS, LOOPS, OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import Dataset

from pacavit.errors import PacavitError
from pacavit.job import Job
from pacavit.openmmlab.models import Config, scoped
from pacavit.params.ade20k import Ade20kRecipe
from pacavit.params.coco import CocoRecipe
from pacavit.runtime.distributed import is_main, rank, world_size, wrapper_options
from pacavit.runtime.interruption import Interruption, interrupted
from pacavit.runtime.precision import autocast_type
from pacavit.runtime.progress import Progress, report
from pacavit.training import checkpoint
from pacavit.training.accumulation import accumulation
from pacavit.training.guards import LossGuard, check_ranks_agree
from pacavit.training.identity import check_identity
from pacavit.training.loading import Batches
from pacavit.training.stream import SampleStream, seed_step

#: Measures the model and returns values by name.
Validate = Callable[[torch.nn.Module], dict[str, float]]


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
    validate: Validate


def finetune(job: Job, task: FineTuning, device: torch.device) -> dict[str, torch.Tensor]:
    """Train, going on from the last state in the work folder, and return the final weights.

    Raises:
        PacavitError: the global batch cannot be shared, or the loss is not finite.
        TrainingInterruptedError: it was asked to end, and has saved its state.
    """
    check_identity(job)
    interruption = Interruption()
    with scoped(task.scope):
        runner = create_runner(job, task, device, interruption)
        with interruption:
            runner.train()
    return {key: value.detach().cpu().contiguous() for key, value in _bare(runner).state_dict().items()}


def create_runner(
    job: Job, task: FineTuning, device: torch.device, interruption: Interruption | None = None
) -> Runner:
    """Return the runner, set to start where an earlier attempt stopped."""
    parts = accumulation(job.stage, task.recipe, world_size())
    state = checkpoint.load_latest(job.work)
    start = 0 if state is None else state["step"]
    seed = int(job.names["seed"])
    batches = Batches(
        SampleStream(task.dataset, seed),
        task.recipe,
        start,
        task.updates,
        lambda index: task.dataset.get_data_info(index)["img_path"],
        collate_fn=pseudo_collate,
    )
    return Runner(
        model=ConfigDict(task.model),
        work_dir=str(job.work / "mmengine"),
        train_dataloader=batches.loader,
        train_cfg={
            "type": "ExactLoop",
            "max_iters": task.updates,
            "seed": seed,
            "parts": parts,
            "state": state,
            "batches": batches,
            "guard": LossGuard(job, device, batches.names),
        },
        optim_wrapper=_optim_wrapper(task, device, parts),
        param_scheduler=[*_warmup(task), task.decay],
        default_hooks={"timer": None, "logger": None, "checkpoint": None, "sampler_seed": None},
        custom_hooks=[
            {
                "type": "StateHook",
                "job": job,
                "task": task,
                "device": device,
                "interruption": interruption or Interruption(),
                "priority": "LOWEST",
            }
        ],
        launcher="pytorch" if world_size() > 1 else "none",
        cfg={"model_wrapper_cfg": _wrapper(device)} if world_size() > 1 else None,
        log_level="ERROR",
        randomness={"seed": seed},
        experiment_name=f"{job.stage}-{job.fingerprint}",
        default_scope=task.scope,
        visualizer={"type": "Visualizer", "vis_backends": []},
    )


@LOOPS.register_module()
class ExactLoop(IterBasedTrainLoop):
    """Updates from a number on, each with random draws of its own and gradients of several micro-batches."""

    def __init__(
        self,
        runner: Runner,
        dataloader: Any,
        max_iters: int,
        seed: int,
        parts: int,
        state: dict | None,
        batches: Batches,
        guard: LossGuard,
    ) -> None:
        super().__init__(runner, dataloader, max_iters)
        self.batches = batches
        self.guard = guard
        self.seed = seed
        self.parts = parts
        self.state = state

    def run(self) -> torch.nn.Module:
        """Train up to the last update."""
        self.runner.call_hook("before_train")
        if self.state is not None:
            self._restore(self.state)
        # The optimiser counts micro-batches, of which the last one always updates.
        self.runner.optim_wrapper.initialize_count_status(
            self.runner.model, self._iter * self.parts, self._max_iters * self.parts
        )
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        with self.batches:
            while self._iter < self._max_iters:
                self._update()
        self._epoch += 1
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def _update(self) -> None:
        self.runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=None)
        losses: dict[str, float] = defaultdict(float)
        for part in range(self.parts):
            batch = next(self.batches)
            seed_step(self.seed, self._iter * self.parts + part, rank())
            outputs = self.runner.model.train_step(batch, optim_wrapper=self.runner.optim_wrapper)
            for name, value in outputs.items():
                losses[name] += float(value.detach()) / self.parts
        self.guard.check(self._iter, losses["loss"])
        self.runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=None, outputs=losses)
        self._iter += 1

    def _restore(self, state: dict[str, Any]) -> None:
        _bare(self.runner).load_state_dict(state["model"])
        self.runner.optim_wrapper.load_state_dict(state["optimizer"])
        for scheduler, saved in zip(self.runner.param_schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(saved)
        self._iter = state["step"]


@HOOKS.register_module()
class StateHook(Hook):
    """Logs, validates, saves the state, ends the training when that is asked for, and shows progress."""

    def __init__(self, job: Job, task: FineTuning, device: torch.device, interruption: Interruption) -> None:
        self.job = job
        self.title = job.title
        self.task = task
        self.device = device
        self.interruption = interruption
        self.sums: dict[str, float] = defaultdict(float)
        self.count = 0

    def before_train(self, runner: Runner) -> None:
        state = runner.train_loop.state
        if state is not None:
            self.sums.update(state["sums"])
            self.count = state["count"]
            report(f"{self.title}: going on from update {state['step']}")
        start = 0 if state is None else state["step"]
        self.progress = Progress(self.title, self.task.updates, self.task.recipe.global_batch, start)

    def before_train_epoch(self, runner: Runner) -> None:
        """Validate, if the last attempt has saved its state for that."""
        if runner.iter > 0 and self._validates(runner.iter):
            self._validate(runner, runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any, outputs: dict[str, float]
    ) -> None:
        step = batch_idx + 1
        self.progress.update(loss=outputs["loss"])
        for name, value in outputs.items():
            self.sums[name] += value
        self.count += 1
        if step % self.task.recipe.log_updates == 0 or step == self.task.updates:
            self._log(runner, step)
        validates = self._validates(step)
        reason = self.interruption.reason(self.device)
        # Before a validation, so that one that is cut short costs nothing else.
        if reason or validates or step % self.task.recipe.checkpoint_updates == 0:
            self._save(runner, step)
        if reason:
            raise interrupted(self.job.stage, step, reason)
        if validates:
            self._validate(runner, step)

    def after_train(self, runner: Runner) -> None:
        self.progress.__exit__(None, None, None)

    def _validates(self, step: int) -> bool:
        return step % self.task.validate_updates == 0 or step == self.task.updates

    def _log(self, runner: Runner, step: int) -> None:
        rate = runner.optim_wrapper.get_lr()["lr"][0]
        means = {f"train/{name}": value / self.count for name, value in sorted(self.sums.items())}
        self.job.run.log({**means, "train/lr": rate}, step)
        self.sums.clear()
        self.count = 0

    def _validate(self, runner: Runner, step: int) -> None:
        model = _bare(runner)
        # Plain batch norm has statistics of its own in each process; those of the main one are saved.
        for buffer in model.buffers():
            broadcast(buffer)
        values = self.task.validate(model)
        model.train()
        if not is_main():
            return
        self.job.run.log({f"val/{name}": value for name, value in values.items()}, step)
        shown = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
        report(f"{self.title}: update {step}/{self.task.updates}  {shown}")

    def _save(self, runner: Runner, step: int) -> None:
        check_ranks_agree(_bare(runner).parameters(), step, self.device)
        if not is_main():
            return
        state = {
            "model": _bare(runner).state_dict(),
            "optimizer": runner.optim_wrapper.state_dict(),
            "schedulers": [scheduler.state_dict() for scheduler in runner.param_schedulers],
            "step": step,
            "sums": dict(self.sums),
            "count": self.count,
        }
        checkpoint.save(self.job.work, state, step)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GroupedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, with one group for all parameters of the same options in place of a group each.

    Torch goes through the groups one after the other, which small models notice; the weights stay the same, bit by bit.
    """

    def add_params(
        self,
        params: list[dict[str, Any]],
        module: torch.nn.Module,
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


def _optim_wrapper(task: FineTuning, device: torch.device, parts: int) -> Config:
    recipe = task.recipe
    mixed = autocast_type(recipe.precision, device)
    wrapper: Config = {"type": "OptimWrapper"}
    if mixed is not None:
        if device.type != "cuda":
            raise PacavitError(
                f"precision: {recipe.precision} needs a GPU in fine-tuning, and this is {device.type}; "
                "choose auto or fp32"
            )
        wrapper = {
            "type": "AmpOptimWrapper",
            "dtype": str(mixed).removeprefix("torch."),
            "loss_scale": "dynamic",
        }
    return {
        **wrapper,
        "constructor": "GroupedOptimWrapperConstructor",
        "accumulative_counts": parts,
        "optimizer": {
            "type": "AdamW",
            "lr": recipe.lr,
            "betas": tuple(recipe.betas),
            "weight_decay": recipe.weight_decay,
        },
        "paramwise_cfg": {"custom_keys": task.custom_keys},
        "clip_grad": None if recipe.clip_grad is None else {"max_norm": recipe.clip_grad},
    }


def _warmup(task: FineTuning) -> list[Config]:
    """Return the linear warm-up; none for zero updates, which mmengine refuses."""
    if task.recipe.warmup_updates == 0:
        return []
    return [
        {
            "type": "LinearLR",
            "start_factor": task.recipe.warmup_start,
            "by_epoch": False,
            "begin": 0,
            "end": task.recipe.warmup_updates,
        }
    ]


def _wrapper(device: torch.device) -> Config:
    """Return the wrapper for several processes; mmengine's default takes a GPU for granted."""
    return {
        "type": "MMDistributedDataParallel",
        **wrapper_options(device),
        "broadcast_buffers": False,
    }


def _bare(runner: Runner) -> torch.nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
