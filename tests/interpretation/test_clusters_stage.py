"""The stage `clusters` on a segmentor with known clusters, and on one with random weights."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from jobs import describe
from pacavit import params
from pacavit.data.manifest import read_manifest
from pacavit.interpretation import stage
from pacavit.interpretation.measures import unpack
from pacavit.interpretation.views import Assigned
from pacavit.openmmlab import models
from pacavit.pipeline import targets
from pacavit.pipeline.table import STAGES


@pytest.fixture(scope="module")
def measured(miniature, tmp_path_factory):
    """What the stage writes of a segmentor with random weights."""
    folder = tmp_path_factory.mktemp("clusters")
    names = {"variant": "test_pacavit", "head": "paca", "seed": 0}
    given = params.load("mini")
    job = describe(
        "clusters",
        given,
        work=folder / "work",
        names=names,
        inputs={
            "data": miniature / targets.path("prepare_ade20k.data", "mini"),
            "weights": folder / "segmentor.safetensors",
        },
        outputs={"measures": folder / "measures.json"},
    )
    torch.manual_seed(1)
    classes = len(read_manifest(job.inputs["data"])["classes"])
    segmentor = models.build(
        models.segmentor(describe("ade20k", given, names=names), classes, None, "BN"), "mmseg"
    )
    save_file(segmentor.state_dict(), job.inputs["weights"])
    stage.measure(job)
    return json.loads(job.outputs["measures"].read_text())


def test_every_stage_with_clusters_and_the_head_is_measured(measured):
    assert set(measured["stages"]) == {"stage 1", "stage 2", "stage 3", "head"}
    assert set(STAGES["clusters"].outputs) == {"measures"}
    for name, values in measured["stages"].items():
        for key in ("nmi", "purity", "matched_miou", "use_entropy", "spread", "stable_flip", "stable_shift"):
            assert 0 <= values[key] <= 1
        assert 1 <= values["used"] <= values["clusters"]
        assert (values["kmeans"] is None) == (name == "head")
        assert values["untrained"]["clusters"] == values["clusters"]
    assert measured["images"] == 10
    assert len(measured["origin"]["weights"]) == 64


def test_kept_assignments_are_those_of_the_first_images(measured):
    assert len(measured["kept"]) == 8
    used = measured["stages"]["stage 1"]
    assert unpack(measured["kept"][0]["stage 1"]).max() < used["clusters"]


def fake(clusters_of):
    """Clusters by the brightness at every eighth pixel, which is where strided convolutions look, for a model's."""

    def assigned(model, image):
        grey = np.asarray(image.convert("L"), float)[::8, ::8] / 255
        return {"stage 1": Assigned(clusters_of(grey), None)}

    return assigned


@pytest.mark.parametrize("edge", [67, 70, 72])
def test_clusters_that_go_with_the_picture_are_stable(monkeypatch, edge):
    pixels = np.zeros((64, 140), np.uint8)
    pixels[:, edge:] = 255
    scenes = [(Image.fromarray(pixels).convert("RGB"), None)]
    monkeypatch.setattr(stage, "assigned", fake(lambda grey: np.stack([1 - grey, grey])))
    assert stage._stability(None, scenes) == {"stage 1": {"stable_flip": 1.0, "stable_shift": 1.0}}


def test_clusters_that_go_with_the_place_are_not_stable(monkeypatch):
    scenes = [(Image.new("RGB", (140, 64)), None)]

    def by_place(grey):
        left = np.broadcast_to(np.arange(grey.shape[1]) < grey.shape[1] // 2, grey.shape).astype(float)
        return np.stack([left, 1 - left])

    monkeypatch.setattr(stage, "assigned", fake(by_place))
    found = stage._stability(None, scenes)["stage 1"]
    assert found["stable_flip"] == pytest.approx(1 / 17)  # the column in the middle
    assert found["stable_shift"] == pytest.approx(11 / 13)


def test_convolutions_of_stride_two_meet_their_mirror_image_where_it_is_compared(monkeypatch):
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3 if i == 0 else 4, 4, 3, stride=2, padding=1) for i in range(5)]
    for layer in layers:
        layer.weight.data = layer.weight.data + layer.weight.data.flip(
            3
        )  # symmetric, so that mirroring commutes
    model = torch.nn.Sequential(*layers)

    def assigned(_, image):
        pixels = torch.tensor(np.asarray(image, np.float32) / 255).permute(2, 0, 1)[None]
        with torch.inference_mode():
            return {"stage 1": Assigned(model(pixels)[0].numpy(), None)}

    monkeypatch.setattr(stage, "assigned", assigned)
    noise = np.random.default_rng(0).integers(0, 256, (64, 200, 3), np.uint8)
    assert stage._stability(None, [(Image.fromarray(noise), None)])["stage 1"]["stable_flip"] == 1


def test_scenes_end_where_they_are_limited():
    item = {
        "inputs": torch.arange(12, dtype=torch.uint8).view(3, 2, 2),
        "data_samples": SimpleNamespace(gt_sem_seg=SimpleNamespace(data=torch.zeros(1, 2, 2))),
    }
    scenes = stage._Scenes([item] * 5, 2)
    assert len(list(scenes)) == 2
    assert np.asarray(scenes[0][0])[0, 0].tolist() == [8, 4, 0]  # red first, of blue first
