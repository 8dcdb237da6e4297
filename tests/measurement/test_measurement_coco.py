import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from pycocotools import mask as rle

from pacavit.measurement.coco import SUMMARY, results_of, summaries

SIZE = (64, 64)


def packed(x, y, w, h):
    mask = np.zeros(SIZE, np.uint8, order="F")
    mask[y : y + h, x : x + w] = 1
    found = rle.encode(mask)
    return {"size": list(SIZE), "counts": found["counts"].decode()}


@pytest.fixture
def loader(tmp_path):
    """Two images; categories 7 and 3, in that order, each with one object, and a crowd of 3."""
    objects = [(1, 7, (4, 4, 20, 10), 0), (2, 3, (10, 20, 40, 40), 0), (1, 3, (0, 40, 64, 24), 1)]
    truth = {
        "images": [{"id": i, "width": 64, "height": 64, "file_name": f"{i}.jpg"} for i in (1, 2)],
        "categories": [{"id": 7, "name": "seven"}, {"id": 3, "name": "three"}],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": category,
                "bbox": list(box),
                "area": box[2] * box[3],
                "segmentation": packed(*box),
                "iscrowd": crowd,
            }
            for number, (image, category, box, crowd) in enumerate(objects, start=1)
        ],
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(truth))
    return SimpleNamespace(dataset=SimpleNamespace(truth=path))


def result(image, category, box, score=0.9):
    return {
        "image_id": image,
        "category_id": category,
        "bbox": list(box),
        "score": score,
        "segmentation": packed(*box),
    }


def test_what_is_found_exactly_has_an_ap_of_one(loader):
    exact = [result(1, 7, (4, 4, 20, 10)), result(2, 3, (10, 20, 40, 40)), result(1, 3, (0, 45, 20, 10))]
    values = summaries(loader, exact, per_class=True)
    for kind in ("bbox", "segm"):
        assert [values[kind][name] for name in ("AP", "AP75", "AR100")] == pytest.approx([1.0, 1.0, 1.0])
        assert values[kind]["APl"] is None
        assert set(values[kind]) == set(SUMMARY)
    assert list(values["per_class"]) == ["3", "7"]
    assert values["per_class"]["7"] == {
        "name": "seven",
        "bbox_AP": pytest.approx(1),
        "segm_AP": pytest.approx(1),
    }


def test_each_class_has_its_own_ap(loader):
    values = summaries(loader, [result(1, 7, (4, 4, 20, 10))], per_class=True)
    found = {number: values["segm_AP"] for number, values in values["per_class"].items()}
    assert found == pytest.approx({"3": 0.0, "7": 1.0})
    assert values["segm"]["AP"] == pytest.approx(0.5)


def test_classes_of_one_name_have_an_ap_each(loader):
    truth = json.loads(loader.dataset.truth.read_text())
    for category in truth["categories"]:
        category["name"] = "same"
    loader.dataset.truth.write_text(json.dumps(truth))
    per_class = summaries(loader, [result(1, 7, (4, 4, 20, 10))], per_class=True)["per_class"]
    assert {number: values["name"] for number, values in per_class.items()} == {"3": "same", "7": "same"}
    assert per_class["7"]["bbox_AP"] > per_class["3"]["bbox_AP"] == 0


def test_nothing_found_is_zero(loader):
    assert summaries(loader, [])["bbox"]["AP"] == 0.0


def test_a_result_has_cocos_number_box_and_mask():
    masks = torch.zeros(1, *SIZE, dtype=torch.bool)
    masks[0, 20:50, 10:30] = True
    found = InstanceData(
        bboxes=torch.tensor([[10.0, 20.0, 30.0, 50.0]]),
        scores=torch.tensor([0.5]),
        labels=torch.tensor([1]),
        masks=masks,
    )
    (given,) = results_of(SimpleNamespace(img_id=4, pred_instances=found), [7, 3])
    assert given == result(4, 3, (10, 20, 20, 30), score=0.5)
