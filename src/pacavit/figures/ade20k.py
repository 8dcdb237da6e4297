"""Figures of a segmentor."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pacavit.checkpoints.inspection import restore
from pacavit.data.ade20k import SPLITS
from pacavit.data.classes import Classes
from pacavit.drawing.grid import image_grid
from pacavit.drawing.marks import UNLABELLED, class_legend, coloured
from pacavit.drawing.style import class_colours
from pacavit.figures.clusters import Pictured, chosen, draw_all, sized
from pacavit.figures.curves import draw_curve
from pacavit.interpretation.views import observe
from pacavit.job import Job
from pacavit.measurement.sampling import spread


def draw(job: Job) -> None:
    """Draw learning curve, predictions and clusters."""
    draw_plain(job)
    options = job.params.figures.ade20k
    model, _ = restore(job.inputs["weights"], job.model)
    files = sorted((job.inputs["data"] / "images" / SPLITS["val"]).glob("*.jpg"))
    classes = Classes.of(job.inputs["data"]).labels
    pictured = []
    for number in chosen(job, "ade20k", len(files)):
        image = sized(Image.open(files[number]), options.side)
        pictured.append(Pictured(files[number].name, image, observe(model, image, classes)))
    draw_all(job, pictured, f"{job.names['variant']}, segmentation with the {job.names['head']} head")


def draw_plain(job: Job) -> None:
    """Draw learning curve and predictions."""
    draw_curve(job, {"mIoU": ("val_mIoU", "mIoU"), "aAcc": ("val_aAcc", "aAcc")}, "share (0 to 1)")
    _draw_predictions(job, job.params.figures.ade20k.images)
    job.run.artifact(job.outputs["predictions"])


def _draw_predictions(job: Job, count: int) -> None:
    """Draw image, labels and prediction side by side, with a legend of the classes that occur, the commonest first."""
    classes = Classes.of(job.inputs["data"]).labels
    colours = class_colours(len(classes))
    with np.load(job.inputs["predictions"]) as kept:
        shown = spread(len(kept["names"]), count)
        names = [kept["names"][i] for i in shown]
        maps = [(kept[f"truth_{i}"], kept[f"prediction_{i}"]) for i in shown]
    images = [
        Image.open(job.inputs["data"] / "images" / SPLITS["val"] / f"{name}.jpg").convert("RGB")
        for name in names
    ]
    titles = ("image", "labels (grey: none)", "prediction")
    with image_grid(job.outputs["predictions"], [image.size for image in images], titles) as (canvas, rows):
        for row, image, (truth, prediction) in zip(rows, images, maps, strict=True):
            pictures = (image, coloured(truth, colours), coloured(prediction, colours))
            for axis, picture in zip(row, pictures, strict=True):
                axis.imshow(picture)
        pixels = np.concatenate([labels.ravel() for pair in maps for labels in pair])
        counts = np.bincount(pixels[pixels != UNLABELLED], minlength=len(classes))
        occurring = [i for i in np.argsort(-counts, kind="stable") if counts[i]]
        class_legend(canvas, [classes[i] for i in occurring], colours[occurring])
