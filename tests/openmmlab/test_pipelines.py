"""Images of the paper's dense tasks pass through the published steps, or the libraries' own where none are known."""

from pathlib import Path

import mmdet
import mmseg
import pytest
from mmengine.config import Config

from pacavit import params
from pacavit.openmmlab import datasets


@pytest.fixture
def pages(project):
    return params.load("paper")


def standard(package, name):
    """Return a data set's page of mmdetection or mmsegmentation."""
    config = Config.fromfile(Path(package.__file__).parent / f".mim/configs/_base_/datasets/{name}.py")
    return config.to_dict()


def plain(value):
    """Return steps without what says how files are read, and with lists for tuples."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in ("backend_args", "reduce_zero_label")}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def test_ade20k_goes_through_mmsegmentations_steps(pages):
    theirs, recipe = standard(mmseg, "ade20k"), pages.ade20k.recipe
    assert plain(datasets.segmentation_training(recipe)) == plain(theirs["train_pipeline"])
    assert plain(datasets.segmentation_testing(recipe)) == plain(theirs["test_pipeline"])


def test_coco_is_tested_through_mmdetections_steps(pages):
    theirs = plain(standard(mmdet, "coco_instance")["test_pipeline"])
    # The truth of the test images is read by the metric, not by the pipeline.
    steps = [step for step in theirs if step["type"] != "LoadAnnotations"]
    assert plain(datasets.detection_testing(pages.coco.recipe)) == steps


def test_coco_is_flipped_then_resized_or_cropped_between_two_resizes(pages):
    load, annotations, flip, choice, pack = datasets.detection_training(pages.coco.recipe)
    assert [load["type"], annotations["type"], pack["type"]] == [
        "LoadImageFromFile",
        "LoadAnnotations",
        "PackDetInputs",
    ]
    assert flip == {"type": "RandomFlip", "prob": 0.5}
    resize = {
        "type": "RandomChoiceResize",
        "scales": [(1333, side) for side in range(480, 801, 32)],
        "keep_ratio": True,
    }
    before = {**resize, "scales": [(1333, 400), (1333, 500), (1333, 600)]}
    crop = {
        "type": "RandomCrop",
        "crop_type": "absolute_range",
        "crop_size": (384, 600),
        "allow_negative_crop": True,
    }
    # No weights: mmcv draws either with the same odds.
    assert choice == {"type": "RandomChoice", "transforms": [[resize], [before, crop, resize]]}
