"""The loop of every training: exact under interruption, its updates of the same images for any number of processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from pacavit.job import Job
from pacavit.params.ade20k import Ade20kRecipe
from pacavit.params.coco import CocoRecipe
from pacavit.params.pretrain import PretrainRecipe
from pacavit.runtime.distributed import broadcast_buffers, is_main, rank, world_size, wrapper_options
from pacavit.runtime.interruption import Interruption, interrupted
from pacavit.runtime.precision import autocast_type
from pacavit.runtime.progress import Progress, report
from pacavit.training import checkpoint
from pacavit.training.accumulation import accumulation
from pacavit.training.guards import LossGuard, check_ranks_agree, check_same_step
from pacavit.training.identity import check_identity
from pacavit.training.loading import Batches
from pacavit.training.stream import SampleStream, seed_step

Recipe = PretrainRecipe | CocoRecipe | Ade20kRecipe


class Training(ABC):
    """A training from its last state on: its parts, and the loop over its updates.

    An update adds up the gradients of micro-batches, so that the global batch does not depend on the number of
    processes. Its samples follow from its number alone, its random draws from that, the micro-batch and the rank.

    Subclasses say what the loss is, how the rate moves, and when and how to log and to validate.

    Args:
        job: names stage, seed and work folder.
        recipe: batches, precision and intervals.
        model: on its device; several processes train it as copies.
        optimizer: of its parameters.
        clip_grad: largest norm of the gradient; None does not clip.
        updates: how many in all.
        device: of this process.

    Attributes:
        step: number of finished updates.
        precision: type of mixed precision, None for plain fp32.
        model: without the wrapper of several processes.

    Raises:
        PacavitError: the global batch cannot be shared, or the states in the work folder were made from something
            else.
    """

    def __init__(
        self,
        job: Job,
        recipe: Recipe,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        clip_grad: float | None,
        updates: int,
        device: torch.device,
    ) -> None:
        check_identity(job)
        self.job = job
        self.recipe = recipe
        self.model = model
        self.optimizer = optimizer
        self.clip_grad = clip_grad
        self.updates = updates
        self.device = device
        self.seed = int(job.names["seed"])
        self.step = 0
        self._parts = accumulation(job.stage, recipe, world_size())
        self._copy = (
            nn.parallel.DistributedDataParallel(model, broadcast_buffers=False, **wrapper_options(device))
            if world_size() > 1
            else model
        )
        self.precision = autocast_type(recipe.precision, device)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self.precision is torch.float16)
        self._sums: dict[str, float] = defaultdict(float)
        self._summed = 0

    def prepare(self, stream: SampleStream, image_name: Callable[[int], str], **options: Any) -> None:
        """Restore the last state and open the stream of batches after it.

        Args:
            stream: samples by position.
            image_name: names the image of an index of the data set.
            options: further arguments of torch's loader.
        """
        state = checkpoint.load_latest(self.job.work)
        if state is not None:
            self.restore(state)
            report(f"{self.job.title}: going on from update {self.step}")
        check_same_step(self.step, self.device)
        self.batches = Batches(stream, self.recipe, self.step, self.updates, image_name, **options)
        self._guard = LossGuard(self.job, self.device, self.batches.names)

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        """Return what is logged of a micro-batch, scalars by name, of which ``loss`` is minimised.

        Args:
            model: to call; with several processes, the wrapper around :attr:`model`.
            batch: of the loader, not yet on the device.
        """

    @abstractmethod
    def set_rate(self) -> None:
        """Set the learning rate of the next update."""

    @abstractmethod
    def logs(self) -> bool:
        """Return whether a point of the learning curve follows the last update."""

    @abstractmethod
    def validates(self) -> bool:
        """Return whether a validation follows the last update."""

    @abstractmethod
    def validate(self) -> dict[str, float | None]:
        """Measure the model and return values by name, None where there is nothing to measure.

        All processes call this together.
        """

    @abstractmethod
    def position(self) -> dict[str, int]:
        """Return where the training is in a unit that people count in, such as the epoch, for the learning curve."""

    def run(self, interruption: Interruption) -> None:
        """Train to the last update.

        A state is saved before a validation, so that one that is cut short costs nothing else.

        Raises:
            PacavitError: the loss is not finite.
            TrainingInterruptedError: it was asked to end, and has saved its state.
        """
        sizes = self.updates, self.recipe.global_batch, self.step, self.recipe.log_updates
        progress = Progress(self.job.title, *sizes)
        with interruption, progress, self.batches:
            if self.step and self.validates():
                self._validate()
            self.model.train()
            while self.step < self.updates:
                progress.update(loss=self._update(), lr=self._rate)
                if self.logs():
                    self._log()
                reason = interruption.reason(self.device)
                validates = self.validates()
                if reason or validates or self.step % self.recipe.checkpoint_updates == 0:
                    self._save()
                if reason:
                    raise interrupted(self.job.stage, self.step, reason)
                if validates:
                    self._validate()
                    progress.resume()

    def state(self) -> dict[str, Any]:
        """Return all that the next update depends on, as tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "step": self.step,
            "sums": dict(self._sums),
            "summed": self._summed,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of :meth:`state`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self.step, self._summed = state["step"], state["summed"]
        self._sums.update(state["sums"])

    def _update(self) -> float:
        """Take one step of the optimiser over the global batch; return its mean loss."""
        self.set_rate()
        losses: dict[str, float] = defaultdict(float)
        for part in range(self._parts):
            batch = next(self.batches)
            seed_step(self.seed, self.step * self._parts + part, rank())
            with self._gradients_kept(part):
                with torch.autocast(self.device.type, self.precision, enabled=self.precision is not None):
                    found = self.loss(self._copy, batch)
                self._scaler.scale(found["loss"] / self._parts).backward()
            for name, value in found.items():
                losses[name] += float(value.detach()) / self._parts
        losses["loss"] = self._guard.check(self.step, losses["loss"])
        if self.clip_grad is not None:
            self._scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_grad)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        for name, value in losses.items():
            self._sums[name] += value
        self._summed += 1
        self.step += 1
        return losses["loss"]

    @property
    def _rate(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    def _gradients_kept(self, part: int) -> AbstractContextManager:
        """Let the processes exchange gradients with the last micro-batch alone."""
        last = part + 1 == self._parts
        return nullcontext() if world_size() == 1 or last else self._copy.no_sync()

    def _log(self) -> None:
        """Log the means since the last point of the learning curve."""
        means = {f"train/{name}": value / self._summed for name, value in sorted(self._sums.items())}
        self.job.run.log({**self.position(), **means, "train/lr": self._rate}, self.step)
        self._sums.clear()
        self._summed = 0

    def _validate(self) -> None:
        # Plain batch norm has statistics of its own in each process; those of the main one are saved.
        broadcast_buffers(self.model)
        values = self.validate()
        self.model.train()
        if not is_main():
            return
        defined = {name: value for name, value in values.items() if value is not None}
        self.job.run.log({f"val/{name}": value for name, value in defined.items()}, self.step)
        shown = "  ".join(
            f"{name} {defined[name]:.3f}" if name in defined else f"{name} undefined" for name in values
        )
        report(f"{self.job.title}: update {self.step}/{self.updates}  {shown}")

    def _save(self) -> None:
        check_ranks_agree(self.model.parameters(), self.step, self.device)
        if is_main():
            checkpoint.save(self.job.work, self.state(), self.step)
