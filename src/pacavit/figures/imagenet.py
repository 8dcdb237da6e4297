"""Figures of a classifier."""

from __future__ import annotations

import math

import numpy as np

from pacavit.checkpoints.inspection import restore
from pacavit.data.imagenet import ImageNetShards
from pacavit.drawing.style import bare, figure
from pacavit.figures.clusters import Pictured, chosen, draw_all, sized
from pacavit.figures.curves import draw_curve
from pacavit.interpretation.views import observe
from pacavit.job import Job

_COLUMNS = 8


def draw(job: Job) -> None:
    """Draw learning curve, predictions and clusters."""
    draw_curve(job, {"top-1": ("val_top1", "top1"), "top-5": ("val_top5", "top5")}, "accuracy / %")
    images = ImageNetShards(job.inputs["data"], "val")
    options = job.params.figures.imagenet
    _draw_predictions(job, images, options.images)
    model, _ = restore(job.inputs["weights"], str(job.names["variant"]))
    side = job.params.figures.imagenet.side
    pictured = []
    for number in chosen(job, "imagenet", len(images)):
        image = sized(images[number][0], side)
        pictured.append(Pictured(images.name(number), image, observe(model, image)))
    draw_all(job, pictured, f"{job.names['variant']}, classification")
    job.run.artifact(job.outputs["predictions"])


def _draw_predictions(job: Job, images: ImageNetShards, count: int) -> None:
    """Draw validation images with the predicted class and its probability; a cross marks the wrong ones."""
    with np.load(job.inputs["predictions"]) as kept:
        logits, labels, indices = kept["logits"][:count], kept["labels"][:count], kept["indices"][:count]
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    rows = math.ceil(len(labels) / _COLUMNS)
    with figure(job.outputs["predictions"], 1.1 * _COLUMNS, 1.35 * rows + 0.1) as canvas:
        axes = canvas.subplots(rows, _COLUMNS, squeeze=False).ravel()
        for axis in axes:
            bare(axis)
        for axis, index, label, row in zip(axes, indices, labels, probabilities, strict=False):
            axis.imshow(images[int(index)][0])
            guess = int(row.argmax())
            mark = "✓" if guess == label else f"✗ (is {images.classes[label]})"
            axis.set_title(f"{images.classes[guess]}  {row[guess]:.0%}\n{mark}", fontsize=8)
