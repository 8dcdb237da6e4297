"""Objects in images: as in the evaluation, and drawn."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from pacavit.data.coco import annotation_file
from pacavit.measurement import coco
from pacavit.prediction.trained import read_classes


@pytest.mark.parametrize("min_score", [0.5, pytest.param(0.2, marks=pytest.mark.slow)])
def test_the_objects_are_those_of_the_evaluation(model, photos, predict, results, min_score):
    made = model("coco")
    paths = photos("coco", 2)
    predict("coco", *paths, "--min-score", min_score)
    # One by one, since in a batch images are padded to one size, which the attention sees.
    options = made.job.params.evaluate.coco.model_copy(update={"batch_size": 1})
    loader = coco.detection_loader(made.job, made.job.params.coco.recipe, options)
    expected = coco.predict(made.model, loader)
    truth = COCO(str(annotation_file(made.job.inputs["data"], "val")))
    found = results()
    assert found["min_score"] == min_score
    assert sum(len(item["objects"]) for item in found["images"]) > 2
    for item, path in zip(found["images"], paths, strict=True):
        (image_id,) = [i for i, image in truth.imgs.items() if image["file_name"] == path.name]
        same = [r for r in expected if r["image_id"] == image_id and r["score"] > min_score]
        scores = [o["score"] for o in item["objects"]]
        assert scores == sorted(scores, reverse=True)
        assert scores == pytest.approx([r["score"] for r in same], abs=1e-4)
        for one, other in zip(item["objects"], same, strict=True):
            assert one["image_id"] == item["id"]
            assert one["category_id"] == other["category_id"]
            assert one["category"] == truth.cats[one["category_id"]]["name"]
            assert one["bbox"] == pytest.approx(other["bbox"], abs=1e-2)
            assert isinstance(one["segmentation"]["counts"], str)
            assert one["segmentation"]["size"] == [item["height"], item["width"]]
            masks = [rle.decode(result["segmentation"]) for result in (one, other)]
            assert np.mean(masks[0] != masks[1]) < 1e-3


def test_the_results_are_cocos(model, photos, predict, results, project):
    """pycocotools reads them, against images of the same numbers."""
    model("coco")
    photos("coco", 2)
    predict("coco", "photos")
    content = json.loads(annotation_file(project / "data/mini/coco", "val").read_text())
    images = results()["images"]
    content["images"] = [{"id": item["id"], "width": item["width"]} for item in images]
    content["annotations"] = []
    (project / "truth.json").write_text(json.dumps(content))
    objects = [result for item in images for result in item["objects"]]
    assert len(COCO("truth.json").loadRes(objects).anns) == len(objects)


def test_the_picture_shows_objects_above_the_score(model, photos, predict, results, project):
    model("coco")
    (path,) = photos("coco", 1)
    predict("coco", path, to="some")
    predict("coco", path, "--min-score", 1, to="none")
    assert results("some")["images"][0]["objects"]
    assert results("none")["images"][0]["objects"] == []
    some, none = (
        np.asarray(Image.open(project / folder / f"{path.stem}.png").convert("RGB"))
        for folder in ("some", "none")
    )
    assert len(some) > len(none)  # the legend
    assert (some[: len(none)] != none).any(axis=2).mean() > 0.01


def test_names_are_in_the_order_of_the_ids(create_job, project):
    """mmdetection alone counts classes as each file lists them."""
    folder = project / "data/mini/coco"
    path = annotation_file(folder, "val")
    content = json.loads(path.read_text())
    categories = list(content["categories"])
    content["categories"].reverse()
    path.write_text(json.dumps(content))
    classes = read_classes("coco", "mini", None)
    job = create_job("evaluate_coco")
    path.write_text(json.dumps(content))  # the job is a new copy
    dataset = coco.detection_loader(job, job.params.coco.recipe, job.params.evaluate.coco).dataset
    assert list(classes.ids) == dataset.cat_ids
    assert list(classes.ids) == [category["id"] for category in categories]
    assert list(classes.names) == [category["name"] for category in categories]
