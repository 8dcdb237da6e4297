"""Pretraining on ImageNet-1k: one loop over timm's parts."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, Mixup, create_transform
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.task import ClassificationTask
from torch.utils.data import Dataset

from pacavit.data.imagenet import ImageNetShards
from pacavit.errors import PacavitError
from pacavit.job import Job
from pacavit.measurement.imagenet import measure, validation_loader
from pacavit.models import variant_config
from pacavit.params.pretrain import Augmentation, PretrainRecipe, PretrainVariant
from pacavit.runtime.distributed import is_main, process_group, rank, world_size, wrapper_options
from pacavit.runtime.interruption import Interruption, interrupted
from pacavit.runtime.precision import autocast_type
from pacavit.runtime.progress import Progress, report
from pacavit.training import checkpoint
from pacavit.training.accumulation import accumulation
from pacavit.training.guards import LossGuard, check_ranks_agree
from pacavit.training.identity import check_identity
from pacavit.training.loading import Batches
from pacavit.training.outputs import write_outputs
from pacavit.training.stream import SampleStream, seed_all, seed_step


class Transformed(Dataset):
    """A split whose images pass through a transform."""

    def __init__(self, images: ImageNetShards, transform: Any) -> None:
        self.images = images
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image, label = self.images[index]
        return self.transform(image), label


def pretrain(job: Job) -> None:
    """Train a variant to classify, and write the weights that did best on the validation images.

    A later call goes on from the last state in the job's work folder and ends with the same weights.

    Raises:
        PacavitError: the global batch cannot be shared, or the loss is not finite.
        TrainingInterruptedError: it was asked to end, and has saved its state.
    """
    interruption = Interruption()
    with process_group() as device:
        training = Training(job, device)
        with interruption:
            best = training.run(interruption)
    if is_main():
        described = {"variant": str(job.names["variant"]), "classes": training.classes}
        write_outputs(job, best, {"task": "classification", **described})


def create_model(job: Job, num_classes: int, drop_path: float) -> torch.nn.Module:
    """Return the variant with the random weights that its seed gives.

    Raises:
        PacavitError: no such variant.
    """
    variant_config(str(job.names["variant"]))
    seed_all(int(job.names["seed"]))
    return timm.create_model(str(job.names["variant"]), num_classes=num_classes, drop_path_rate=drop_path)


def create_task(
    job: Job, recipe: PretrainRecipe, variant: PretrainVariant, device: torch.device
) -> ClassificationTask:
    """Return model and loss; mixed targets are soft, so the loss takes a distribution over classes."""
    classes = len(ImageNetShards(job.inputs["data"], "train").classes)
    model = create_model(job, classes, variant.drop_path).to(device, memory_format=torch.channels_last)
    task = ClassificationTask(model, SoftTargetCrossEntropy(), device=device, verbose=False)
    if world_size() > 1:
        task.prepare_distributed(**wrapper_options(device))
    return task


def create_optimizer(recipe: PretrainRecipe, model: torch.nn.Module) -> torch.optim.Optimizer:
    """Return AdamW; timm leaves vectors and biases without weight decay."""
    return create_optimizer_v2(
        model,
        opt="adamw",
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        betas=tuple(recipe.betas),
        eps=recipe.eps,
    )


def create_schedule(recipe: PretrainRecipe, optimizer: torch.optim.Optimizer, updates: int) -> Any:
    """Return the cosine schedule with linear warm-up, of ``updates`` updates an epoch."""
    schedule, _ = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=recipe.epochs,
        warmup_epochs=recipe.warmup_epochs,
        warmup_lr=recipe.warmup_lr,
        min_lr=recipe.min_lr,
        step_on_epochs=recipe.lr_per == "epoch",
        updates_per_epoch=updates,
    )
    return schedule


def train_transform(size: int, augmentation: Augmentation) -> Any:
    """Return timm's training transform: image to normalised tensor (3, size, size)."""
    return create_transform(
        size,
        is_training=True,
        scale=tuple(augmentation.crop_scale),
        ratio=tuple(augmentation.crop_ratio),
        hflip=augmentation.hflip,
        color_jitter=None,
        auto_augment=augmentation.auto_augment,
        interpolation=augmentation.interpolation,
        mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD,
        re_prob=augmentation.random_erasing,
        re_mode="pixel",
    )


def create_mixup(augmentation: Augmentation, num_classes: int) -> Mixup:
    """Return mixup and cutmix of a batch, which also smooth the labels."""
    return Mixup(
        mixup_alpha=augmentation.mixup,
        cutmix_alpha=augmentation.cutmix,
        prob=augmentation.mixup_prob if augmentation.mixup or augmentation.cutmix else 0.0,
        switch_prob=augmentation.mixup_switch_prob,
        mode="batch",
        label_smoothing=augmentation.smoothing,
        num_classes=num_classes,
    )


class Training:
    """A pretraining from its last state on: the parts, and the loop over them.

    Args:
        job: names variant, seed, data and work folder.
        device: of this process.

    Raises:
        PacavitError: the global batch cannot be shared or is more than all images, or the states in the work folder
            were made from something else.
    """

    def __init__(self, job: Job, device: torch.device) -> None:
        self.job = job
        self.title = job.title
        self.device = device
        self.seed = int(job.names["seed"])
        self.recipe = recipe = job.params.pretrain.recipe
        self.variant = job.params.pretrain.variants[str(job.names["variant"])]
        self.parts = accumulation("pretrain", recipe, world_size())
        self.task = create_task(job, recipe, self.variant, device)
        self.model = self.task.trainable_module
        self.bare = self.model.module if world_size() > 1 else self.model
        self.optimizer = create_optimizer(recipe, self.model)
        self.precision = autocast_type(recipe.precision, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision is torch.float16)

        images = ImageNetShards(job.inputs["data"], "train")
        self.classes = list(images.classes)
        self.updates = len(images) // recipe.global_batch
        if self.updates == 0:
            raise PacavitError(
                f"params: pretrain.yaml: global_batch {recipe.global_batch} is more than the {len(images)} images"
            )
        self.total = recipe.epochs * self.updates
        self.schedule = create_schedule(recipe, self.optimizer, self.updates)
        self.mixup = create_mixup(recipe.augmentation, len(images.classes))
        self.validation = validation_loader(job, recipe, recipe.micro_batch, recipe.workers)

        self.step, self.losses = 0, 0.0
        self.best: dict[str, Any] = {"top1": -1.0, "weights": {}}
        self._restore()
        stream = SampleStream(
            Transformed(images, train_transform(recipe.image_size, recipe.augmentation)),
            self.seed,
            self.updates * recipe.global_batch,
        )
        self.batches = Batches(
            stream, recipe, self.step, self.total, images.name, pin_memory=device.type == "cuda"
        )
        self.guard = LossGuard(job, device, self.batches.names)

    def run(self, interruption: Interruption) -> dict[str, torch.Tensor]:
        """Train to the last update, and return the weights that did best on the validation images.

        A state is saved before a validation, so that one that is cut short costs nothing else.

        Raises:
            TrainingInterruptedError: it was asked to end, and has saved its state.
        """
        if self.step and self.step % self.updates == 0:
            self._end_epoch()
        self.model.train()
        progress = Progress(self.title, self.total, self.recipe.global_batch, self.step)
        with progress, self.batches:
            while self.step < self.total:
                loss = self._update()
                self.step += 1
                self.losses += loss
                progress.update(loss=loss)
                epoch_ends = self.step % self.updates == 0
                reason = interruption.reason(self.device)
                if reason or epoch_ends or self.step % self.recipe.checkpoint_updates == 0:
                    self._save()
                if reason:
                    raise interrupted("pretrain", self.step, reason)
                if epoch_ends:
                    self._end_epoch()
        return self.best["weights"]

    def _update(self) -> float:
        """Take one step of the optimiser over the global batch; return its mean loss."""
        _set_rate(self.schedule, self.recipe, self.step, self.updates)
        loss = 0.0
        for part in range(self.parts):
            inputs, labels = next(self.batches)
            seed_step(self.seed, self.step * self.parts + part, rank())
            inputs = inputs.to(self.device, non_blocking=True, memory_format=torch.channels_last)
            inputs, targets = self.mixup(inputs, labels.to(self.device, non_blocking=True))
            held = self.model.no_sync() if world_size() > 1 and part + 1 < self.parts else nullcontext()
            with held:
                with torch.autocast(self.device.type, self.precision, enabled=self.precision is not None):
                    result = self.task(inputs, targets)["loss"] / self.parts
                self.scaler.scale(result).backward()
            loss += result.item()
        loss = self.guard.check(self.step, loss)
        if self.variant.clip_grad is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.variant.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return loss

    def _end_epoch(self) -> None:
        """Log the epoch, with a validation if one is due."""
        epoch = self.step // self.updates
        due = epoch % self.recipe.validate_epochs == 0 or epoch == self.recipe.epochs
        values = self._validate() if due else {}
        logged = {
            "epoch": epoch,
            "train/loss": self.losses / self.updates,
            "train/lr": self.optimizer.param_groups[0]["lr"],
            **{f"val/{name}": value for name, value in values.items()},
        }
        self.job.run.log(logged, self.step)
        shown = f"  top-1 {values['top1']:.2f} %" if due else ""
        report(f"{self.title}: epoch {epoch}/{self.recipe.epochs}  loss {logged['train/loss']:.3f}{shown}")
        self.losses = 0.0

    def _validate(self) -> dict[str, float]:
        """Measure, and keep the weights if they are the best so far."""
        values = measure(self.bare, self.validation, self.device, self.precision)
        self.model.train()
        if values["top1"] > self.best["top1"]:
            weights = {key: value.cpu().clone() for key, value in self.bare.state_dict().items()}
            self.best = {"top1": values["top1"], "weights": weights}
        return values

    def _save(self) -> None:
        check_ranks_agree(self.bare.parameters(), self.step, self.device)
        if is_main():
            state = {
                "model": self.bare.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "step": self.step,
                "best": self.best,
                "losses": self.losses,
            }
            checkpoint.save(self.job.work, state, self.step)

    def _restore(self) -> None:
        check_identity(self.job)
        state = checkpoint.load_latest(self.job.work)
        if state is None:
            return
        self.bare.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.best, self.losses = state["step"], state["best"], state["losses"]
        report(f"{self.title}: going on from update {self.step}")


def _set_rate(schedule: Any, recipe: PretrainRecipe, step: int, updates: int) -> None:
    """Set the learning rate of update ``step`` from its number alone, so that resuming needs no state."""
    if recipe.lr_per == "epoch":
        schedule.step(step // updates)
    else:
        schedule.step_update(step)
