"""Figures of a classifier."""

from __future__ import annotations

import math

import numpy as np

from pacavit.checkpoints.inspection import restore
from pacavit.data.classes import Classes
from pacavit.data.imagenet import ImageNetShards
from pacavit.drawing.style import COLOURS, bare, figure
from pacavit.drawing.text import wrapped
from pacavit.figures.clusters import Pictured, chosen, draw_all, sized
from pacavit.figures.curves import draw_curve
from pacavit.interpretation.views import observe
from pacavit.job import Job
from pacavit.measurement.sampling import spread

#: Images in a row at most; width of one, inches, and size of the text above it, points.
_COLUMNS, _PANEL, _FONT = 6, 1.6, 8


def draw(job: Job) -> None:
    """Draw learning curve, predictions and clusters."""
    draw_plain(job)
    images = ImageNetShards(job.inputs["data"], "val")
    model, _ = restore(job.inputs["weights"], job.model)
    side = job.params.figures.imagenet.side
    pictured = []
    for number in chosen(job, "imagenet", len(images)):
        image = sized(images[number][0], side)
        pictured.append(Pictured(images.name(number), image, observe(model, image)))
    draw_all(job, pictured, f"{job.names['variant']}, classification")


def draw_plain(job: Job) -> None:
    """Draw learning curve and predictions."""
    draw_curve(job, {"top-1": ("val_top1", "top1"), "top-5": ("val_top5", "top5")}, "accuracy / %")
    _draw_predictions(job, ImageNetShards(job.inputs["data"], "val"), job.params.figures.imagenet.images)
    job.run.artifact(job.outputs["predictions"])


def _draw_predictions(job: Job, images: ImageNetShards, count: int) -> None:
    """Draw validation images with the predicted class and its probability, and the true one where that is wrong."""
    with np.load(job.inputs["predictions"]) as kept:
        shown = spread(len(kept["labels"]), count)
        logits, labels, indices = (kept[name][shown] for name in ("logits", "labels", "indices"))
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    names = Classes.of(job.inputs["data"]).labels
    texts = [
        _text(names[row.argmax()], row.max(), None if row.argmax() == label else names[label])
        for label, row in zip(labels, probabilities, strict=True)
    ]
    columns = math.ceil(len(labels) / math.ceil(len(labels) / _COLUMNS))
    rows = math.ceil(len(labels) / columns)
    height = _PANEL + 1.25 * _FONT / 72 * (1 + max(text.count("\n") for text in texts)) + 0.12
    with figure(job.outputs["predictions"], _PANEL * columns, height * rows) as canvas:
        axes = canvas.subplots(rows, columns, squeeze=False).ravel()
        for axis in axes:
            bare(axis)
        for axis, index, label, row, text in zip(axes, indices, labels, probabilities, texts, strict=False):
            axis.imshow(images[int(index)][0])
            axis.set_anchor("NW")  # below its text, whatever its shape
            colour = COLOURS[2] if row.argmax() == label else COLOURS[1]
            axis.set_title(text, fontsize=_FONT, loc="left", color=colour, parse_math=False)


def _text(guess: str, probability: float, truth: str | None) -> str:
    """Return what stands above an image: the predicted class and, if that is wrong, the true one."""
    lines = wrapped(f"{'✓' if truth is None else '✗'} {probability:.0%} {guess}", _PANEL - 0.08, _FONT, 2)
    return lines if truth is None else f"{lines}\n{wrapped(f'is {truth}', _PANEL - 0.08, _FONT, 2)}"
