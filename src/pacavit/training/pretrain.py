"""Pretraining on ImageNet-1k: one loop over timm's parts."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, Mixup, create_transform
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.task import ClassificationTask
from torch.utils.data import DataLoader, Dataset

from pacavit.data.imagenet import ImageNetShards
from pacavit.errors import PacavitError
from pacavit.evaluation.imagenet import measure, validation_loader
from pacavit.models import variant_config
from pacavit.params.pretrain import Augmentation, PretrainRecipe, PretrainVariant
from pacavit.stages import Job
from pacavit.training import checkpoint
from pacavit.training.accumulation import accumulation
from pacavit.training.distributed import is_main, mean_over_ranks, process_group, rank, world_size
from pacavit.training.outputs import write_outputs
from pacavit.training.precision import autocast_type
from pacavit.training.progress import Progress, report
from pacavit.training.stream import PositionSampler, SampleStream, seed_all, seed_step


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
    """
    recipe = job.params.pretrain.recipe
    variant = job.params.pretrain.variants[str(job.names["variant"])]
    with process_group() as device:
        best = _train(job, recipe, variant, device)
    if is_main():
        write_outputs(job, best)


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
        task.prepare_distributed(device_ids=[device] if device.type == "cuda" else None)
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


def _train(
    job: Job, recipe: PretrainRecipe, variant: PretrainVariant, device: torch.device
) -> dict[str, torch.Tensor]:
    """Run the loop and return the best weights."""
    seed = int(job.names["seed"])
    steps_per_batch = accumulation("pretrain", recipe, world_size())
    task = create_task(job, recipe, variant, device)
    model = task.trainable_module
    bare = model.module if world_size() > 1 else model
    optimizer = create_optimizer(recipe, model)

    images = ImageNetShards(job.inputs["data"], "train")
    updates = len(images) // recipe.global_batch
    if updates == 0:
        raise PacavitError(
            f"params: pretrain.yaml: global_batch {recipe.global_batch} is more than the {len(images)} images"
        )
    schedule = create_schedule(recipe, optimizer, updates)
    mixup = create_mixup(recipe.augmentation, len(images.classes))
    stream = SampleStream(
        Transformed(images, train_transform(recipe.image_size, recipe.augmentation)),
        seed,
        updates * recipe.global_batch,
    )
    validation = validation_loader(job, recipe, recipe.micro_batch, recipe.workers)
    precision = autocast_type(recipe.precision, device)
    scaler = torch.amp.GradScaler(device.type, enabled=precision is torch.float16)

    state = checkpoint.load_latest(job.work)
    step, best, losses = 0, {"top1": -1.0, "weights": {}}, 0.0
    if state is not None:
        bare.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scaler.load_state_dict(state["scaler"])
        step, best, losses = state["step"], state["best"], state["losses"]
        report(f"pretrain: going on from update {step}")

    def save() -> None:
        if is_main():
            checkpoint.save(
                job.work,
                {
                    "model": bare.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "scaler": scaler.state_dict(),
                    "step": step,
                    "best": best,
                    "losses": losses,
                },
                step,
            )

    total = recipe.epochs * updates
    sampler = PositionSampler(recipe.global_batch, step, total, rank(), world_size())
    loader = DataLoader(
        stream,
        batch_size=recipe.micro_batch,
        sampler=sampler,
        num_workers=recipe.workers,
        pin_memory=device.type == "cuda",
        persistent_workers=recipe.workers > 0,
    )
    batches = iter(loader)
    model.train()
    with Progress(f"pretrain {job.names['variant']}", total, recipe.global_batch, step) as progress:
        while step < total:
            _set_rate(schedule, recipe, step, updates)
            loss = 0.0
            for part in range(steps_per_batch):
                inputs, labels = next(batches)
                seed_step(seed, step * steps_per_batch + part, rank())
                inputs = inputs.to(device, non_blocking=True, memory_format=torch.channels_last)
                inputs, targets = mixup(inputs, labels.to(device, non_blocking=True))
                held = model.no_sync() if world_size() > 1 and part + 1 < steps_per_batch else nullcontext()
                with held:
                    with torch.autocast(device.type, precision, enabled=precision is not None):
                        result = task(inputs, targets)["loss"] / steps_per_batch
                    scaler.scale(result).backward()
                loss += result.item()
            if not math.isfinite(loss):
                names = ", ".join(_names(images, stream, sampler, step)[:8])
                raise PacavitError(
                    f"pretrain: the loss of update {step} is {loss}; its first images: {names}"
                )
            if variant.clip_grad is not None:
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(model.parameters(), variant.clip_grad)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            losses += loss
            progress.update(loss=loss)

            if step % updates == 0:
                values = measure(bare, validation, device, precision)
                model.train()
                epoch = step // updates
                if values["top1"] > best["top1"]:
                    weights = {key: value.cpu().clone() for key, value in bare.state_dict().items()}
                    best = {"top1": values["top1"], "weights": weights}
                logged = {
                    "epoch": epoch,
                    "train/loss": mean_over_ranks(losses / updates, device),
                    "train/lr": optimizer.param_groups[0]["lr"],
                    **{f"val/{name}": value for name, value in values.items()},
                }
                job.run.log(logged, step)
                report(
                    f"pretrain: epoch {epoch}/{recipe.epochs}  loss {logged['train/loss']:.3f}  "
                    f"top-1 {values['top1']:.2f} %"
                )
                losses = 0.0
                save()
            elif step % recipe.checkpoint_updates == 0:
                save()
    return best["weights"]


def _set_rate(schedule: Any, recipe: PretrainRecipe, step: int, updates: int) -> None:
    """Set the learning rate of update ``step`` from its number alone, so that resuming needs no state."""
    if recipe.lr_per == "epoch":
        schedule.step(step // updates)
    else:
        schedule.step_update(step)


def _names(images: ImageNetShards, stream: SampleStream, sampler: PositionSampler, step: int) -> list[str]:
    first = step * sampler.global_batch
    positions = range(first + sampler.rank, first + sampler.global_batch, sampler.world_size)
    return [images.name(stream.index(position)) for position in positions]
