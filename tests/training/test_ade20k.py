import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from jobs import describe, with_archives
from kills import killed_after
from pacavit import params
from pacavit.data import sources
from pacavit.data.ade20k import SPLITS, prepare
from pacavit.evaluation.ade20k import evaluate
from pacavit.files import sha256
from pacavit.training import ade20k
from pages import SHORT, shorten


def test_unlabelled_pixels_are_ignored_and_classes_count_from_zero(create_job):
    dataset = ade20k.describe(create_job("ade20k", head="paca"), "BN").dataset
    labels = {int(v) for i in range(8) for v in dataset[i]["data_samples"].gt_sem_seg.data.unique()}
    assert 255 in labels
    assert labels - {255} <= set(range(14))
    assert 13 in labels


def test_the_multipliers_are_those_of_the_head(create_job):
    for head in ("paca", "upernet"):
        job = create_job("ade20k", head=head)
        assert ade20k.describe(job, "BN").custom_keys == ade20k.multipliers(job)


@pytest.mark.parametrize("head", ["paca", "upernet"])
def test_the_recipe_may_lose_the_pretrained_weights(create_job, head):
    given = {"pretrained_weights": "lost"}
    assert (
        given.items()
        <= ade20k.describe(create_job("ade20k", head=head, **given), "BN").model["backbone"].items()
    )


@pytest.fixture
def one_class(create_job, project):
    """A function that returns a job of a stage on the miniature's images, in whose labels any class is a crack."""
    given = params.load("mini")
    folders = {}
    for split, name in SPLITS.items():
        folders[split] = {kind: f"mine/{kind}/{split}" for kind in ("images", "labels")}
        shutil.copytree(project / "data/mini/ade20k/images" / name, folders[split]["images"])
        Path(folders[split]["labels"]).mkdir(parents=True)
        for path in (project / "data/mini/ade20k/annotations" / name).iterdir():
            labels = np.asarray(Image.open(path))
            Image.fromarray((labels > 0).astype(np.uint8)).save(Path(folders[split]["labels"], path.name))
    own = with_archives(given, "ade20k", {"kind": "folder", "classes": ["crack"], **folders})
    sources.provide(describe("archives_ade20k", own))
    prepare(describe("prepare_ade20k", own))
    return create_job


@pytest.mark.parametrize("head", ["paca", "upernet"])
def test_the_background_is_learnt_beside_a_single_class_and_its_iou_is_the_mean(one_class, head):
    job = one_class("ade20k", head=head)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="For binary segmentation")
        ade20k.finetune(job)
    evaluation = one_class("evaluate_ade20k", head=head)
    evaluate(evaluation)
    metrics = json.loads(evaluation.outputs["metrics"].read_text())
    assert list(metrics["per_class"]) == ["background", "crack"]
    assert metrics["mIoU"] == metrics["per_class"]["crack"]
    assert pd.read_csv(job.outputs["curve"])["val_mIoU"].iloc[-1] == pytest.approx(metrics["mIoU"], rel=1e-4)
    with np.load(evaluation.outputs["predictions"]) as kept:
        labels = Path(job.inputs["data"], "annotations/validation", f"{kept['names'][0]}.png")
        np.testing.assert_array_equal(kept["truth_0"], Image.open(labels))


@pytest.mark.slow
@pytest.mark.parametrize("head", ["paca", "upernet"])
def test_a_killed_training_ends_with_the_same_weights_and_is_evaluated(create_job, head):
    whole = create_job("ade20k", work="whole", head=head)
    ade20k.finetune(whole)
    expected = sha256(whole.outputs["weights"])
    broken = create_job("ade20k", work="broken", head=head)
    with killed_after(3):
        ade20k.finetune(broken)
    ade20k.finetune(broken)
    assert sha256(broken.outputs["weights"]) == expected

    job = create_job("evaluate_ade20k", head=head)
    evaluate(job)
    metrics = json.loads(job.outputs["metrics"].read_text())
    assert {"mIoU", "mAcc", "aAcc"} <= set(metrics) & set(metrics["untrained"])
    assert len(metrics["per_class"]) == 14
    with np.load(job.outputs["predictions"]) as kept:
        assert list(kept["names"]) == sorted(kept["names"])
        assert len(kept["names"]) == job.params.evaluate.ade20k.keep
        assert kept["prediction_0"].shape == kept["truth_0"].shape
        assert kept["prediction_0"].max() < 14


@pytest.mark.slow
def test_two_processes_train_and_validate_together(create_job, project):
    job = create_job("ade20k", head="paca")
    shorten(project / "params/mini/ade20k.yaml", **SHORT["ade20k"])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "pacavit", "ade20k", "test_pacavit", "--head", "paca", "--scale", "mini"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    curve = pd.read_csv(job.outputs["curve"])
    assert np.isfinite(curve["train_loss"]).all()
    evaluation = create_job("evaluate_ade20k", head="paca")
    evaluate(evaluation)
    metrics = json.loads(evaluation.outputs["metrics"].read_text())
    assert curve["val_mIoU"].iloc[-1] == pytest.approx(metrics["mIoU"], rel=1e-4)
