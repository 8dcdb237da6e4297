"""The authors' files, measured without a training; here they are files of the published form."""

import csv
import json
import shutil

import pytest
import timm
import torch

from jobs import describe
from pacavit import params, paths
from pacavit.data.manifest import read_manifest
from pacavit.errors import PacavitError
from pacavit.openmmlab import models
from pacavit.pipeline import targets
from pacavit.pipeline.run import run
from pacavit.published import Claim

VARIANT = "test_pacavit"
FILES = {"imagenet": "IMNET_224_test.pth", "coco": "mask_rcnn_test.pth", "ade20k": "pacahead_test.pth"}
FIELDS = tuple(Claim.model_fields)
METRICS = {"imagenet": "top1", "coco": "ap_box", "ade20k": "miou"}


@pytest.fixture
def released(project, miniature, monkeypatch):
    """A project with miniature data and published numbers of the test's variant; returns the folder of the files."""
    shutil.copytree(miniature, project, dirs_exist_ok=True)
    monkeypatch.setenv("PACAVIT_TRACKING", "off")
    path = project / paths.PUBLISHED
    path.parent.mkdir()
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, restval="")
        writer.writeheader()
        for task, name in FILES.items():
            writer.writerow(
                {
                    **{"id": f"test.{task}", "task": task, "model": "Test", "variant": VARIANT},
                    **{"head": "paca" if task == "ade20k" else "", "metric": METRICS[task], "value": "50.0"},
                    **{"unit": "%", "source": "test", "checkpoint": name},
                }
            )
    folder = project / params.load("mini").data.released.directory
    folder.mkdir(parents=True)
    return folder


def classifier():
    torch.manual_seed(1)
    return timm.create_model(VARIANT, num_classes=10)


def measured(stage: str, **names) -> dict:
    return json.loads(targets.path(f"{stage}.metrics", "mini", variant=VARIANT, **names).read_text())


def test_released_weights_give_the_metrics_of_the_same_weights_trained_here(released):
    model = classifier()
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}},
        released / FILES["imagenet"],
    )
    run("released_imagenet", "mini", variant=VARIANT)
    run("evaluate_released_imagenet", "mini", variant=VARIANT)
    ours = targets.path("pretrain.weights", "mini", variant=VARIANT, seed=0)
    shutil.copy(targets.path("released_imagenet.weights", "mini", variant=VARIANT), ours)
    run("evaluate_imagenet", "mini", variant=VARIANT, seed=0)
    theirs, own = measured("evaluate_released_imagenet"), measured("evaluate_imagenet", seed=0)
    assert theirs.pop("origin")["weights"] == own.pop("origin")["weights"]
    assert theirs == own


@pytest.mark.slow
def test_released_dense_models_are_measured_as_well(released):
    encoder = models.backbone(VARIANT, None, drop_path=0.0)
    for task, head in (("coco", {}), ("ade20k", {"head": "paca"})):
        classes = len(read_manifest(targets.path(f"prepare_{task}.data", "mini"))["classes"])
        job = describe(f"evaluate_released_{task}", params.load("mini"), names={"variant": VARIANT, **head})
        if task == "coco":
            model = models.build(models.mask_rcnn(encoder, classes, job.params.coco.recipe.detector), "mmdet")
        else:
            model = models.build(models.segmentor(job, classes, None, "BN"), "mmseg")
        torch.save({"meta": {}, "state_dict": model.state_dict()}, released / FILES[task])
        run(f"released_{task}", "mini", variant=VARIANT, **head)
        run(f"evaluate_released_{task}", "mini", variant=VARIANT, **head)
    assert measured("evaluate_released_coco")["bbox"]["AP"] >= 0
    assert 0 <= measured("evaluate_released_ade20k", head="paca")["mIoU"] <= 1


def test_a_file_that_is_not_there_is_named_with_where_it_belongs(released):
    with pytest.raises(
        PacavitError,
        match=r"archives/released/IMNET_224_test\.pth: missing; fetch .* released\.directory in params/mini/data",
    ):
        run("released_imagenet", "mini", variant=VARIANT)


def test_a_file_of_another_model_is_explained_and_not_taken(released):
    model = timm.create_model(VARIANT, num_classes=10, num_clusters=(4, 4, 4, 0))
    torch.save({"state_dict": model.state_dict()}, released / FILES["imagenet"])
    with pytest.raises(PacavitError, match=r"IMNET_224_test\.pth: .*test_pacavit for imagenet"):
        run("released_imagenet", "mini", variant=VARIANT)
    assert not targets.path("released_imagenet.weights", "mini", variant=VARIANT).exists()


def test_weights_that_are_not_finite_are_not_taken(released):
    state = classifier().state_dict()
    state["head.bias"][2] = torch.nan
    torch.save(state, released / FILES["imagenet"])
    with pytest.raises(PacavitError, match=r"IMNET_224_test\.pth: head\.bias is not finite: 1 of 10 values"):
        run("released_imagenet", "mini", variant=VARIANT)
    assert not targets.path("released_imagenet.weights", "mini", variant=VARIANT).exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"<html></html>", "a web page"),
        (None, "is a folder"),
    ],
)
def test_what_holds_no_weights_is_named(released, content, message):
    path = released / FILES["imagenet"]
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(PacavitError, match=rf"IMNET_224_test\.pth: .*{message}"):
        run("released_imagenet", "mini", variant=VARIANT)


def test_a_variant_that_was_not_released_is_told_with_those_that_were(released):
    with pytest.raises(
        PacavitError, match="second: no weights of it were released for coco; there are test_pacavit"
    ):
        run("released_coco", "mini", variant="second")
