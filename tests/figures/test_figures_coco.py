"""The figure of a detector: objects of each class under its name."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pacavit.data.coco import annotation_file
from pacavit.figures import coco


@pytest.fixture
def job(create_job):
    """A job whose data have two classes of one name, the categories in the reverse order of their ids."""
    job = create_job("evaluate_coco")
    for path in (annotation_file(job.inputs["data"], "val"), job.inputs["data"] / "manifest.json"):
        content = json.loads(path.read_text())
        if "categories" in content:
            content["categories"].reverse()
            for category in content["categories"]:
                category["name"] = {1: "same", 2: "same"}.get(category["id"], category["name"])
        else:
            content["classes"][:2] = ["same", "same"]
        path.write_text(json.dumps(content))
    return job


def test_objects_have_the_name_and_the_colour_of_their_class(job, monkeypatch):
    drawn = {}
    monkeypatch.setattr(coco, "draw_objects", lambda axis, found: drawn.update({m.text: m for m in found}))
    legend = {}
    monkeypatch.setattr(
        coco, "class_legend", lambda _, names, colours: legend.update(zip(names, colours, strict=True))
    )
    truth = coco.COCO(str(annotation_file(job.inputs["data"], "val")))
    images = sorted(truth.getImgIds())
    predictions = job.work / "predictions.json"
    predictions.parent.mkdir(exist_ok=True)
    predictions.write_text(json.dumps({"images": images, "results": []}))
    inputs = {"data": job.inputs["data"], "predictions": predictions}
    figure = replace(job, inputs=inputs, outputs={"predictions": job.work / "figure.png"})
    coco._draw_predictions(figure, truth, len(images))
    assert {"same (1)", "same (2)"} <= set(legend)
    shown = {name: mark for name, mark in drawn.items() if name in legend}
    assert "same (1)" in shown
    for name, mark in shown.items():
        np.testing.assert_array_equal(mark.colour, legend[name])
