"""Figures of a detector."""

from __future__ import annotations

import contextlib
import io
import json

from matplotlib.axes import Axes
from PIL import Image
from pycocotools.coco import COCO

from pacavit.checkpoints.inspection import restore
from pacavit.data.coco import SPLITS, annotation_file
from pacavit.drawing.marks import draw_object, object_colour
from pacavit.drawing.style import bare, figure
from pacavit.figures.clusters import Pictured, chosen, draw_all, sized
from pacavit.figures.curves import draw_curve
from pacavit.interpretation.views import observe
from pacavit.job import Job

#: Detections below this score are left out of the picture.
_MIN_SCORE = 0.5


def draw(job: Job) -> None:
    """Draw learning curve, predictions and clusters."""
    columns = {"box AP": ("val_bbox_AP", "bbox.AP"), "mask AP": ("val_segm_AP", "segm.AP")}
    draw_curve(job, columns, "AP (0 to 1)")
    options = job.params.figures.coco
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotation_file(job.inputs["data"], "val")))
    _draw_predictions(job, truth, options.images)
    model, _ = restore(job.inputs["weights"], str(job.names["variant"]))
    ids = sorted(truth.getImgIds())
    pictured = []
    for number in chosen(job, "coco", len(ids)):
        image = sized(_image(job, truth, ids[number]), options.side)
        name = truth.loadImgs(ids[number])[0]["file_name"]
        pictured.append(Pictured(name, image, observe(model, image)))
    draw_all(job, pictured, f"{job.names['variant']}, detection")
    job.run.artifact(job.outputs["predictions"])


def _draw_predictions(job: Job, truth: COCO, count: int) -> None:
    """Draw validation images twice: with the annotated objects above, with the detected ones below."""
    results = json.loads(job.inputs["predictions"].read_text())
    ids = sorted(truth.getImgIds())[:count]
    with figure(job.outputs["predictions"], 2.1 * len(ids), 4.6) as canvas:
        axes = canvas.subplots(2, len(ids), squeeze=False)
        for column, image_id in zip(axes.T, ids, strict=True):
            found = [r for r in results if r["image_id"] == image_id and r["score"] >= _MIN_SCORE]
            annotated = truth.loadAnns(truth.getAnnIds(image_id))
            for axis, objects in zip(column, (annotated, found), strict=True):
                bare(axis)
                axis.imshow(_image(job, truth, image_id))
                for item in objects:
                    _draw_object(axis, truth, item)
        axes[0, 0].set_title("annotated", loc="left")
        axes[1, 0].set_title(f"detected, score ≥ {_MIN_SCORE}", loc="left")


def _draw_object(axis: Axes, truth: COCO, item: dict) -> None:
    colour = object_colour(truth.getCatIds().index(item["category_id"]))
    crowd = bool(item.get("iscrowd", 0))
    text = truth.loadCats(item["category_id"])[0]["name"] + (" crowd" if crowd else "")
    text += f" {item['score']:.2f}" if "score" in item else ""
    draw_object(axis, item["bbox"], truth.annToMask(item), colour, text, crowd)


def _image(job: Job, truth: COCO, image_id: int) -> Image.Image:
    path = job.inputs["data"] / SPLITS["val"] / truth.loadImgs(image_id)[0]["file_name"]
    return Image.open(path).convert("RGB")
