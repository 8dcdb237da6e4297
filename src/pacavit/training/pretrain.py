"""Pretraining on ImageNet-1k, from timm's parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, Mixup, create_transform
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch.utils.data import Dataset

from pacavit.data.classes import Classes
from pacavit.data.imagenet import ImageNetShards
from pacavit.errors import PacavitError
from pacavit.job import Job
from pacavit.measurement.imagenet import measure, validation_loader
from pacavit.models import variants
from pacavit.params.pretrain import Augmentation, PretrainRecipe
from pacavit.runtime.distributed import is_main, process_group
from pacavit.runtime.interruption import Interruption
from pacavit.training.loop import Training
from pacavit.training.outputs import write_outputs
from pacavit.training.stream import SampleStream, seed_all


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
        PacavitError: the global batch cannot be shared or is more than all images, or the loss is not finite.
        TrainingInterruptedError: it was asked to end, and has saved its state.
    """
    interruption = Interruption()
    with process_group() as device:
        training = Pretraining(job, device)
        training.run(interruption)
    if is_main():
        described = {
            "variant": job.model.model,
            "kwargs": job.model.kwargs,
            "imports": list(job.model.imports),
            "image_size": job.params.pretrain.recipe.image_size,
            **Classes.of(job.inputs["data"]).description,
        }
        write_outputs(job, training.best["weights"], {"task": "classification", **described})


def create_model(job: Job, num_classes: int, drop_path: float) -> torch.nn.Module:
    """Return the variant with the random weights that its seed gives.

    Raises:
        PacavitError: as of :func:`pacavit.models.variants.create`.
    """
    seed_all(int(job.names["seed"]))
    return variants.create(job.model, num_classes, drop_path, job.params.pretrain.recipe.image_size)


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


class Pretraining(Training):
    """A pretraining from its last state on.

    Args:
        job: names variant, seed, data and work folder.
        device: of this process.

    Attributes:
        best: top-1 in per cent and weights of the best validation so far.

    Raises:
        PacavitError: the global batch cannot be shared or is more than all images, or the states in the work folder
            were made from something else.
    """

    recipe: PretrainRecipe

    def __init__(self, job: Job, device: torch.device) -> None:
        recipe = job.params.pretrain.recipe
        variant = job.params.pretrain.variants[str(job.names["variant"])]
        images = ImageNetShards(job.inputs["data"], "train")
        self.epoch_updates = len(images) // recipe.global_batch
        if self.epoch_updates == 0:
            raise PacavitError(
                f"params: pretrain.yaml: global_batch {recipe.global_batch} is more than the {len(images)} images"
            )
        model = create_model(job, len(images.classes), variant.drop_path)
        model = model.to(device, memory_format=torch.channels_last)
        optimizer = create_optimizer(recipe, model)
        updates = recipe.epochs * self.epoch_updates
        super().__init__(job, recipe, model, optimizer, variant.clip_grad, updates, device)
        self.schedule = create_schedule(recipe, optimizer, self.epoch_updates)
        self.mixup = create_mixup(recipe.augmentation, len(images.classes))
        self.criterion = SoftTargetCrossEntropy()
        self.validation = validation_loader(job, recipe, recipe.micro_batch, recipe.workers)
        self.best: dict[str, Any] = {"top1": -1.0, "weights": {}}
        stream = SampleStream(
            Transformed(images, train_transform(recipe.image_size, recipe.augmentation)),
            self.seed,
            self.epoch_updates * recipe.global_batch,
        )
        self.prepare(stream, images.name, pin_memory=device.type == "cuda")

    def loss(
        self, model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Return the cross-entropy of a mixed batch, whose targets are distributions over the classes."""
        inputs, labels = (part.to(self.device, non_blocking=True) for part in batch)
        inputs, targets = self.mixup(inputs.contiguous(memory_format=torch.channels_last), labels)
        return {"loss": self.criterion(model(inputs), targets)}

    def set_rate(self) -> None:
        """Set the learning rate from the number of the update alone, so that resuming needs no state."""
        set_rate(self.schedule, self.recipe, self.step, self.epoch_updates)

    def logs(self) -> bool:
        """Return whether an epoch has ended."""
        return self.step % self.epoch_updates == 0

    def validates(self) -> bool:
        """Return whether an epoch has ended after which the recipe validates."""
        epoch, left = divmod(self.step, self.epoch_updates)
        return left == 0 and (epoch % self.recipe.validate_epochs == 0 or epoch == self.recipe.epochs)

    def position(self) -> dict[str, int]:
        """Return the number of finished epochs."""
        return {"epoch": self.step // self.epoch_updates}

    def validate(self) -> dict[str, float]:
        """Measure, and keep the weights if they are the best so far."""
        values = measure(self.model, self.validation, self.device, self.precision)
        if values["top1"] > self.best["top1"]:
            weights = {key: value.cpu().clone() for key, value in self.model.state_dict().items()}
            self.best = {"top1": values["top1"], "weights": weights}
        return values

    def state(self) -> dict[str, Any]:
        """Return all that the next update depends on, and the best weights so far."""
        return {**super().state(), "best": self.best}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of :meth:`state`."""
        super().restore(state)
        self.best = state["best"]


def set_rate(schedule: Any, recipe: PretrainRecipe, step: int, updates: int) -> None:
    """Set the learning rate of update ``step``; an epoch has ``updates``."""
    if recipe.lr_per == "epoch":
        schedule.step(step // updates)
    else:
        schedule.step_update(step)
