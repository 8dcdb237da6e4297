import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from pacavit.measurement.ade20k import Confusion


def test_agrees_with_mmsegmentation():
    rng = np.random.default_rng(0)
    classes, areas = 7, []
    confusion = Confusion(classes)
    for _ in range(5):
        truth = rng.integers(0, classes - 2, (40, 50)).astype(np.uint8)
        truth[rng.random(truth.shape) < 0.1] = 255
        # One class is predicted and never true; one is neither.
        prediction = rng.integers(0, classes - 1, (40, 50)).astype(np.uint8)
        confusion.add(truth, prediction)
        maps = (torch.tensor(prediction).long(), torch.tensor(truth).long())
        areas.append(IoUMetric.intersect_and_union(*maps, classes, 255))
    totals = [sum(area) for area in zip(*areas, strict=True)]
    expected = IoUMetric.total_area_to_metrics(*totals, ["mIoU"])
    np.testing.assert_allclose(confusion.iou(), expected["IoU"], rtol=1e-6)
    summary = confusion.summary()
    assert summary["mIoU"] == pytest.approx(np.nanmean(expected["IoU"]))
    assert summary["mAcc"] == pytest.approx(np.nanmean(expected["Acc"]))
    assert summary["aAcc"] == pytest.approx(expected["aAcc"])


def test_the_background_counts_in_the_share_of_pixels_alone():
    confusion = Confusion(2, background=True)
    confusion.add(np.array([[0, 0, 0, 1, 255]], np.uint8), np.array([[0, 0, 1, 1, 1]], np.uint8))
    np.testing.assert_allclose(confusion.iou(), [2 / 3, 1 / 2])
    assert confusion.summary() == {"mIoU": 0.5, "mAcc": 1.0, "aAcc": 0.75}


def test_what_never_occurs_has_no_value_and_no_warning(recwarn):
    confusion = Confusion(2, background=True)
    assert confusion.summary() == {"mIoU": None, "mAcc": None, "aAcc": None}
    confusion.add(np.zeros((1, 4), np.uint8), np.zeros((1, 4), np.uint8))
    assert confusion.summary() == {"mIoU": None, "mAcc": None, "aAcc": 1.0}
    assert not recwarn.list


def test_by_hand():
    confusion = Confusion(3)
    confusion.add(np.array([[0, 0, 1, 255]], np.uint8), np.array([[0, 1, 1, 2]], np.uint8))
    np.testing.assert_allclose(confusion.iou(), [1 / 2, 1 / 2, np.nan])
    assert confusion.summary() == {"mIoU": 0.5, "mAcc": 0.75, "aAcc": pytest.approx(2 / 3)}
