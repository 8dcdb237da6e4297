import json

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from kills import Killed, killed_after
from optimizers import options_by_name
from pacavit.data.classes import Classes
from pacavit.data.coco import annotation_file
from pacavit.errors import PacavitError
from pacavit.evaluation.coco import evaluate
from pacavit.files import sha256
from pacavit.measurement.coco import SUMMARY
from pacavit.openmmlab.models import build
from pacavit.training import coco, finetuning
from pacavit.training.stream import SampleStream


def test_images_without_objects_are_left_out_of_training_only(create_job):
    job = create_job("coco")
    dataset = coco.describe(job).dataset
    content = json.loads(annotation_file(job.inputs["data"], "train").read_text())
    annotated = {annotation["image_id"] for annotation in content["annotations"]}
    assert 0 < len(annotated) < len(content["images"])
    assert {dataset.get_data_info(i)["img_id"] for i in range(len(dataset))} == annotated
    # Category numbers have gaps; labels have none.
    assert dataset.cat_ids == [category["id"] for category in content["categories"]]
    labels = {o["bbox_label"] for i in range(len(dataset)) for o in dataset.get_data_info(i)["instances"]}
    assert labels <= set(range(10))


def test_categories_of_one_name_are_classes_of_their_own(create_job):
    job = create_job("coco")
    for split in ("train", "val"):
        path = annotation_file(job.inputs["data"], split)
        content = json.loads(path.read_text())
        for category in content["categories"]:
            category["name"] = "same"
        path.write_text(json.dumps(content))
    path = job.inputs["data"] / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"classes": ["same"] * 10}))
    assert coco.describe(job).dataset.cat_ids == manifest["ids"]
    assert len(set(Classes.of(job.inputs["data"]).labels)) == 10


@pytest.mark.parametrize("changes", [{"iscrowd": 1}, {"area": 0}, {"bbox": [0.1, 0.1, 0.5, 0.5]}])
def test_a_training_without_objects_does_not_start(create_job, changes):
    job = create_job("coco")
    path = annotation_file(job.inputs["data"], "train")
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation.update(changes)
    path.write_text(json.dumps(content))
    with pytest.raises(PacavitError, match=r"data/mini/coco: no object to train on.*mend the annotations"):
        coco.finetune(job)
    assert not job.outputs["weights"].exists()


def test_samples_depend_on_seed_and_position_only(create_job):
    job = create_job("coco")
    stream = SampleStream(coco.describe(job).dataset, seed=0)
    first = [stream[i]["inputs"] for i in range(3)]
    again = [stream[i]["inputs"] for i in (2, 1, 0)]
    assert all((a == b).all() for a, b in zip(first, reversed(again), strict=True))


@pytest.mark.parametrize("pretrained_weights", ["kept", "lost"])
def test_training_starts_from_the_pretrained_backbone_or_loses_it(
    create_job, monkeypatch, pretrained_weights
):
    job = create_job("coco", warmup_start=0.0, pretrained_weights=pretrained_weights)
    pretrained = load_file(job.inputs["pretrained"])
    seen = {}

    def look(self):
        seen.update({key: value.clone() for key, value in self.model.backbone.state_dict().items()})
        raise Killed

    monkeypatch.setattr(finetuning.DenseTraining, "set_rate", look)
    with pytest.raises(Killed):
        coco.finetune(job)
    assert seen
    drawn = {key: value for key, value in seen.items() if value.ndim > 1}
    assert all(
        (pretrained[key] == value).all() == (pretrained_weights == "kept") for key, value in drawn.items()
    )


def test_norms_are_not_decayed(create_job):
    job = create_job("coco")
    task = coco.describe(job)
    model = build(task.model, "mmdet")
    groups = options_by_name(model, finetuning.create_optimizer(task, model))
    assert groups["backbone.stage1.0.norm1_before.weight"]["weight_decay"] == 0
    assert groups["backbone.stage1.0.mlp.fc1.bias"]["weight_decay"] == task.recipe.weight_decay


def test_a_batch_that_cannot_be_shared_is_refused(create_job):
    with pytest.raises(PacavitError, match="global_batch 4 is no multiple of 1 processes × micro_batch 3"):
        coco.finetune(create_job("coco", micro_batch=3))


def test_fp16_without_a_gpu_is_refused(create_job, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PacavitError, match="fp16 needs a GPU"):
        coco.finetune(create_job("coco", precision="fp16"))


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_weights_and_curve(create_job):
    whole = create_job("coco", work="whole")
    coco.finetune(whole)
    expected = [sha256(whole.outputs[name]) for name in ("weights", "curve")]
    whole.outputs["weights"].unlink()
    broken = create_job("coco", work="broken")
    with killed_after(3):
        coco.finetune(broken)
    assert not broken.outputs["weights"].exists()
    coco.finetune(broken)
    assert [sha256(broken.outputs[name]) for name in ("weights", "curve")] == expected


@pytest.mark.slow
def test_evaluation_writes_all_numbers_and_some_predictions(create_job):
    job = create_job("coco")
    coco.finetune(job)
    curve = pd.read_csv(job.outputs["curve"])
    assert {"step", "train_loss", "train_lr", "val_bbox_AP", "val_segm_AP"} <= set(curve.columns)
    evaluation = create_job("evaluate_coco")
    evaluate(evaluation)
    metrics = json.loads(evaluation.outputs["metrics"].read_text())
    assert set(metrics["bbox"]) == set(metrics["segm"]) == set(SUMMARY)
    assert set(metrics["untrained"]["segm"]) == set(SUMMARY)
    assert metrics["bbox"]["APl"] is None  # no digit has 96 × 96 pixels
    assert metrics["images"] == 10
    kept = json.loads(evaluation.outputs["predictions"].read_text())
    assert len(kept["images"]) == evaluation.params.evaluate.coco.keep
    assert {result["image_id"] for result in kept["results"]} <= set(kept["images"])


@pytest.mark.slow
def test_a_single_class_is_learnt_and_measured(create_job):
    job = create_job("coco")
    for split in ("train", "val"):
        path = annotation_file(job.inputs["data"], split)
        content = json.loads(path.read_text())
        for annotation in content["annotations"]:
            annotation["category_id"] = 7
        path.write_text(json.dumps({**content, "categories": [{"id": 7, "name": "digit"}]}))
    manifest = job.inputs["data"] / "manifest.json"
    one = {"classes": ["digit"], "ids": [7]}
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **one}))
    coco.finetune(job)
    evaluation = create_job("evaluate_coco")
    evaluate(evaluation)
    metrics = json.loads(evaluation.outputs["metrics"].read_text())
    assert metrics["bbox"]["AP"] is not None
    assert list(metrics["per_class"]) == ["7"]
