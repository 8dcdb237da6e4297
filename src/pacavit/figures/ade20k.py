"""Figures of a segmentor."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pacavit.checkpoints.inspection import restore
from pacavit.data.ade20k import SPLITS
from pacavit.data.manifest import read_manifest
from pacavit.drawing.marks import class_legend, coloured
from pacavit.drawing.style import bare, class_colours, figure
from pacavit.figures.clusters import Pictured, chosen, draw_all, sized
from pacavit.figures.curves import draw_curve
from pacavit.interpretation.views import observe
from pacavit.job import Job


def draw(job: Job) -> None:
    """Draw learning curve, predictions and clusters."""
    draw_curve(job, {"mIoU": ("val_mIoU", "mIoU"), "aAcc": ("val_aAcc", "aAcc")}, "share (0 to 1)")
    options = job.params.figures.ade20k
    _draw_predictions(job, options.images)
    model, _ = restore(job.inputs["weights"], str(job.names["variant"]))
    files = sorted((job.inputs["data"] / "images" / SPLITS["val"]).glob("*.jpg"))
    classes = read_manifest(job.inputs["data"])["classes"]
    pictured = []
    for number in chosen(job, "ade20k", len(files)):
        image = sized(Image.open(files[number]), options.side)
        pictured.append(Pictured(files[number].name, image, observe(model, image, classes)))
    draw_all(job, pictured, f"{job.names['variant']}, segmentation with the {job.names['head']} head")
    job.run.artifact(job.outputs["predictions"])


def _draw_predictions(job: Job, count: int) -> None:
    """Draw image, labels and prediction in a column each, with a legend of the classes that occur."""
    classes = read_manifest(job.inputs["data"])["classes"]
    colours = class_colours(len(classes))
    with np.load(job.inputs["predictions"]) as kept:
        names = kept["names"][:count]
        maps = [(kept[f"truth_{i}"], kept[f"prediction_{i}"]) for i in range(len(names))]
    with figure(job.outputs["predictions"], 1.6 * len(names), 5.6) as canvas:
        axes = canvas.subplots(3, len(names), squeeze=False)
        for column, name, (truth, prediction) in zip(axes.T, names, maps, strict=True):
            image = Image.open(job.inputs["data"] / "images" / SPLITS["val"] / f"{name}.jpg").convert("RGB")
            pictures = (image, coloured(truth, colours), coloured(prediction, colours))
            for axis, picture in zip(column, pictures, strict=True):
                bare(axis)
                axis.imshow(picture)
        for axis, title in zip(axes[:, 0], ("image", "labels (grey: none)", "prediction"), strict=True):
            axis.set_title(title, loc="left")
        occurring = np.unique(np.concatenate([m.ravel() for pair in maps for m in pair]))
        class_legend(canvas, occurring, classes, colours, columns=8)
