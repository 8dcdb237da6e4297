"""Pretraining: the loop, its recipe, and what an interruption changes: nothing."""

import math
import os
import subprocess
import sys

import pandas as pd
import pytest
import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN
from torch import nn

from kills import killed_after
from optimizers import options_by_name
from pacavit import params
from pacavit.errors import PacavitError
from pacavit.files import sha256
from pacavit.training import checkpoint, pretrain
from pacavit.training.pretrain import (
    create_mixup,
    create_optimizer,
    create_schedule,
    train_transform,
)
from pages import SHORT, shorten


def trained(job) -> tuple[str, str]:
    pretrain.pretrain(job)
    return sha256(job.outputs["weights"]), job.outputs["curve"].read_text()


def test_an_interrupted_training_ends_with_the_same_bytes(create_job):
    undisturbed = trained(create_job("pretrain", work="work/undisturbed"))
    with killed_after(5):
        pretrain.pretrain(create_job("pretrain", work="work/disturbed"))
    assert checkpoint.load_latest(create_job("pretrain", work="work/disturbed").work)["step"] == 4
    assert trained(create_job("pretrain", work="work/disturbed")) == undisturbed


def test_adding_up_micro_batches_is_the_whole_batch(create_job, monkeypatch):
    """The gradient too: AdamW's update is that of a gradient of any scale, so the loss does not tell."""
    curves, norms = [], []
    clip = nn.utils.clip_grad_norm_
    for micro_batch in (2, 8):
        seen = []
        monkeypatch.setattr(
            nn.utils, "clip_grad_norm_", lambda *given, seen=seen: seen.append(clip(*given).item())
        )
        job = create_job("pretrain", work=f"work/{micro_batch}", micro_batch=micro_batch)
        pretrain.pretrain(job)
        curves.append(pd.read_csv(job.outputs["curve"])["train_loss"])
        norms.append(seen)
    assert curves[0].to_numpy() == pytest.approx(curves[1].to_numpy(), abs=1e-4)
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)
    assert norms[0]


@pytest.mark.slow
def test_the_loss_goes_down(create_job):
    job = create_job("pretrain", epochs=12, global_batch=8)
    pretrain.pretrain(job)
    losses = pd.read_csv(job.outputs["curve"])["train_loss"]
    assert losses.iloc[-3:].mean() < losses.iloc[:3].mean()


def test_it_validates_every_few_epochs_and_after_the_last(create_job):
    job = create_job("pretrain", epochs=3, validate_epochs=2)
    pretrain.pretrain(job)
    curve = pd.read_csv(job.outputs["curve"])
    assert curve["train_loss"].notna().tolist() == [True, True, True]
    assert curve["val_top1"].notna().tolist() == [False, True, True]


@pytest.mark.slow
def test_two_processes_learn_as_one_does(create_job, project):
    """Two gloo processes with half the batch each, on the command line."""
    job = create_job("pretrain", work="work/one")
    pretrain.pretrain(job)
    alone = pd.read_csv(job.outputs["curve"])
    job.outputs["curve"].unlink()
    shorten(project / "params/mini/pretrain.yaml", **SHORT["pretrain"])
    environment = {**os.environ, "PACAVIT_PROCESSES": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pacavit", "pretrain", "test_pacavit", "--seed", "0"]
    subprocess.run(command, env=environment, check=True, timeout=300)
    together = pd.read_csv(job.outputs["curve"])
    assert together["train_loss"].to_numpy() == pytest.approx(alone["train_loss"].to_numpy(), abs=1e-4)
    assert together["val_loss"].to_numpy() == pytest.approx(alone["val_loss"].to_numpy(), abs=1e-3)


def test_a_loss_that_is_not_finite_stops_and_names_images(create_job, monkeypatch):
    monkeypatch.setattr(
        pretrain.SoftTargetCrossEntropy, "forward", lambda self, x, target: x.sum() * math.nan
    )
    with pytest.raises(PacavitError, match=r"loss of update 0 is nan; its images, first n0000000\d/"):
        pretrain.pretrain(create_job("pretrain"))


def test_a_global_batch_beyond_the_images_is_refused(create_job):
    with pytest.raises(PacavitError, match="global_batch 64 is more than the 24 images"):
        pretrain.pretrain(create_job("pretrain", global_batch=64))


@pytest.mark.parametrize("lr_per", ["epoch", "update"])
def test_the_rate_of_every_update_is_the_written_one(project, lr_per):
    recipe = params.load("paper").pretrain.recipe.model_copy(update={"lr_per": lr_per})
    updates = 4
    optimizer = create_optimizer(recipe, torch.nn.Linear(2, 2))
    schedule = create_schedule(recipe, optimizer, updates)
    scale = 1 if lr_per == "epoch" else updates
    for step in range(recipe.epochs * updates):
        pretrain.set_rate(schedule, recipe, step, updates)
        t = step // updates if lr_per == "epoch" else step
        warm, total = recipe.warmup_epochs * scale, recipe.epochs * scale
        expected = recipe.warmup_lr + t * (recipe.lr - recipe.warmup_lr) / warm
        if t >= warm:
            expected = recipe.min_lr + (recipe.lr - recipe.min_lr) * (1 + math.cos(math.pi * t / total)) / 2
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("variant", ["pacavit_base_p2cconv_100_0", "pacavit_convmixer_tiny_100"])
def test_every_parameter_has_the_written_rate_and_decay(project, variant):
    """Vectors and biases, which are all of one dimension, are not decayed: timm's default, as published."""
    recipe = params.load("paper").pretrain.recipe
    with torch.device("meta"):
        model = timm.create_model(variant, num_classes=1000)
    optimizer = create_optimizer(recipe, model)
    held = {
        id(p): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    for name, p in model.named_parameters():
        assert held.pop(id(p)) == (1e-3, 0.05 if p.ndim > 1 else 0.0), name
    assert not held


def test_what_a_models_no_weight_decay_names_is_not_decayed(project):
    recipe = params.load("paper").pretrain.recipe
    with torch.device("meta"):
        model = timm.create_model("swin_tiny_patch4_window7_224")
    options = options_by_name(model, create_optimizer(recipe, model))
    undecayed = {name for name, group in options.items() if group["weight_decay"] == 0}
    tables = {name for name in options if name.endswith("relative_position_bias_table")}
    assert undecayed == tables | {name for name, p in model.named_parameters() if p.ndim < 2}
    assert len(tables) == 12


def test_the_paper_page_is_what_the_optimizer_and_the_transforms_hold(project):
    recipe = params.load("paper").pretrain.recipe
    optimizer = create_optimizer(recipe, torch.nn.Linear(2, 2))
    by_decay = {group["weight_decay"]: [p.ndim for p in group["params"]] for group in optimizer.param_groups}
    assert by_decay == {0.05: [2], 0.0: [1]}
    assert {(group["betas"], group["eps"]) for group in optimizer.param_groups} == {((0.9, 0.999), 1e-8)}
    transform = {
        type(t).__name__: t for t in train_transform(recipe.image_size, recipe.augmentation).transforms
    }
    assert list(transform) == [
        *("RandomResizedCropAndInterpolation", "RandomHorizontalFlip", "RandAugment"),
        *("MaybeToTensor", "Normalize", "RandomErasing"),
    ]
    crop = transform["RandomResizedCropAndInterpolation"]
    assert (crop.size, tuple(crop.scale), crop.interpolation.value) == ((224, 224), (0.08, 1.0), "bicubic")
    assert tuple(crop.ratio) == pytest.approx((3 / 4, 4 / 3))
    assert transform["RandomHorizontalFlip"].p == 0.5
    operations = transform["RandAugment"].ops
    assert len(operations) == 15
    assert {(op.magnitude, op.magnitude_std, op.prob) for op in operations} == {(9, 0.5, 0.5)}
    assert any(op.name == "PosterizeIncreasing" for op in operations)  # inc1: stronger with the magnitude
    erasing = transform["RandomErasing"]
    assert (erasing.probability, erasing.rand_color, erasing.per_pixel, erasing.max_count) == (
        0.25,
        False,
        True,
        1,
    )
    assert tuple(transform["Normalize"].mean.tolist()) == pytest.approx(IMAGENET_DEFAULT_MEAN)
    mixup = create_mixup(recipe.augmentation, 1000)
    assert (mixup.mixup_alpha, mixup.cutmix_alpha, mixup.mix_prob, mixup.switch_prob) == (0.8, 1.0, 1.0, 0.5)
    assert (mixup.label_smoothing, mixup.mode) == (0.1, "batch")
