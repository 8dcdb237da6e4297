"""Figures of a detector."""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter

import numpy as np
from PIL import Image
from pycocotools.coco import COCO

from pacavit.checkpoints.inspection import restore
from pacavit.data.classes import Classes
from pacavit.data.coco import SPLITS, annotation_file
from pacavit.drawing.grid import image_grid
from pacavit.drawing.marks import Marked, class_legend, draw_objects
from pacavit.drawing.style import class_colours
from pacavit.figures.clusters import Pictured, chosen, draw_all, sized
from pacavit.figures.curves import draw_curve
from pacavit.interpretation.views import observe
from pacavit.job import Job
from pacavit.measurement.sampling import spread

#: Detections below this score are left out of the picture.
_MIN_SCORE = 0.5


def draw(job: Job) -> None:
    """Draw learning curve, predictions and clusters."""
    truth = draw_plain(job)
    options = job.params.figures.coco
    model, _ = restore(job.inputs["weights"], job.model)
    ids = sorted(truth.getImgIds())
    pictured = []
    for number in chosen(job, "coco", len(ids)):
        image = sized(_image(job, truth, ids[number]), options.side)
        name = truth.loadImgs(ids[number])[0]["file_name"]
        pictured.append(Pictured(name, image, observe(model, image)))
    draw_all(job, pictured, f"{job.names['variant']}, detection")


def draw_plain(job: Job) -> COCO:
    """Draw learning curve and predictions; return the annotations."""
    columns = {"box AP": ("val_bbox_AP", "bbox.AP"), "mask AP": ("val_segm_AP", "segm.AP")}
    draw_curve(job, columns, "AP (0 to 1)")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotation_file(job.inputs["data"], "val")))
    _draw_predictions(job, truth, job.params.figures.coco.images)
    job.run.artifact(job.outputs["predictions"])
    return truth


def _draw_predictions(job: Job, truth: COCO, count: int) -> None:
    """Draw validation images twice: with the annotated objects, and with the detected ones."""
    kept = json.loads(job.inputs["predictions"].read_text())
    ids = [kept["images"][i] for i in spread(len(kept["images"]), count)]
    images = [_image(job, truth, image_id) for image_id in ids]
    classes = Classes.of(job.inputs["data"])
    colours = dict(zip(classes.ids, class_colours(len(classes)), strict=True))
    labels = dict(zip(classes.ids, classes.labels, strict=True))
    titles = ("annotated", f"detected, score ≥ {_MIN_SCORE}")
    sizes = [image.size for image in images]
    with image_grid(job.outputs["predictions"], sizes, titles, widest=4.8) as (canvas, rows):
        counts: Counter[int] = Counter()
        for row, image, image_id in zip(rows, images, ids, strict=True):
            found = [r for r in kept["results"] if r["image_id"] == image_id and r["score"] >= _MIN_SCORE]
            annotated = truth.loadAnns(truth.getAnnIds(image_id))
            for axis, objects in zip(row, (annotated, found), strict=True):
                axis.imshow(image)
                draw_objects(axis, [_marked(truth, item, labels, colours) for item in objects])
                counts.update(item["category_id"] for item in objects)
        occurring = [number for number, _ in counts.most_common()]
        class_legend(
            canvas, [labels[number] for number in occurring], [colours[number] for number in occurring]
        )


def _marked(truth: COCO, item: dict, labels: dict[int, str], colours: dict[int, np.ndarray]) -> Marked:
    crowd = bool(item.get("iscrowd", 0))
    text = labels[item["category_id"]] + (" crowd" if crowd else "")
    text += f" {item['score']:.2f}" if "score" in item else ""
    return Marked(item["bbox"], truth.annToMask(item), colours[item["category_id"]], text, crowd)


def _image(job: Job, truth: COCO, image_id: int) -> Image.Image:
    path = job.inputs["data"] / SPLITS["val"] / truth.loadImgs(image_id)[0]["file_name"]
    return Image.open(path).convert("RGB")
