"""A file is recognised by its keys and shapes, and every key that does not fit is listed."""

import json
from pathlib import Path

import pytest
import timm
import torch
from click.testing import CliRunner

from marks import tiny_first
from pacavit.checkpoints.inspection import inspect
from pacavit.checkpoints.tables import contents, expected_state, guess_task
from pacavit.cli import cli
from pacavit.errors import PacavitError
from pacavit.models import PaCaViT, variant_config, variant_names
from pacavit.openmmlab import models
from pacavit.weights import Fit
from small_models import SMALL_DETECTOR, SMALL_PACA, SMALL_UPERNET

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
PUBLISHED = json.loads((GOLDEN / "state_dict_shapes.json").read_text())
PUBLISHED_HEAD = json.loads((GOLDEN / "pacaseghead_small_shapes.json").read_text())

SMALL = "pacavit_small_p2cconv_100_0"
DETECTOR = SMALL_DETECTOR.model_copy(update={"mask_convs": 2})


def meta(shapes):
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def dense(kind, variant, clusters=None):
    """The state dict, on the meta device, of a small dense model."""
    encoder = models.backbone(variant, None, 0.0, clusters)
    with torch.device("meta"):
        if kind == "coco":
            return models.build(models.mask_rcnn(encoder, 10, DETECTOR), "mmdet").state_dict()
        if kind == "paca":
            config = models.paca_segmentor(encoder, 6, SMALL_PACA, 64, "BN")
        else:
            config = models.upernet(encoder, 6, SMALL_UPERNET, 64, "BN")
        return models.build(config, "mmseg").state_dict()


@pytest.mark.parametrize("variant", tiny_first(PUBLISHED))
def test_published_classifiers_are_recognised_and_fit(variant):
    """Keys and shapes as the published code has them."""
    weights = meta(PUBLISHED[variant])
    found = contents(weights)
    assert found.variants == (variant,)
    assert (found.task, found.head, found.classes) == ("imagenet", None, 1000)
    assert not Fit.of(expected_state(weights, found), weights).problems()


@pytest.mark.slow
@pytest.mark.parametrize("variant", variant_names())
def test_every_variant_is_recognised_with_its_clusters(variant):
    with torch.device("meta"):
        weights = PaCaViT(**{**variant_config(variant), "num_classes": 7}).state_dict()
    found = contents(weights)
    assert found.variants == (variant,)
    assert found.clusters == tuple(variant_config(variant)["num_clusters"])
    assert found.classes == 7


def test_a_published_segmentor_with_paca_head_fits():
    """The published head's keys and shapes, on a published backbone of 200 clusters."""
    with torch.device("meta"):
        backbone = PaCaViT(**{**variant_config(SMALL), "num_clusters": (200, 200, 200, 0), "num_classes": 0})
    weights = {f"backbone.{key}": value for key, value in backbone.state_dict().items()}
    weights |= {f"decode_head.{key}": value for key, value in meta(PUBLISHED_HEAD).items()}
    found = contents(weights)
    assert (found.task, found.head, found.classes) == ("ade20k", "paca", 150)
    assert found.clusters == (200, 200, 200, 0)
    assert set(found.variants) == {f"pacavit_small_p2cconv_{m}_0" for m in (2, 49, 100)}
    assert not Fit.of(expected_state(weights, found), weights).problems()


@pytest.mark.parametrize(
    ("kind", "variant", "clusters", "expected"),
    [
        ("coco", "test_pacavit", None, ("coco", None, 10, (16, 16, 16, 0))),
        ("coco", "pacavit_small_p2cconv_49_0", None, ("coco", None, 10, (49, 49, 49, 0))),
        ("paca", "test_pacavit", [24, 24, 24, 0], ("ade20k", "paca", 6, (24, 24, 24, 0))),
        ("upernet", "pacavit_convmixer_tiny_100", [200] * 4, ("ade20k", "upernet", 6, (200,) * 4)),
    ],
)
def test_dense_models_of_any_width_are_recognised_and_fit(kind, variant, clusters, expected):
    weights = dense(kind, variant, clusters)
    found = contents(weights)
    assert (found.task, found.head, found.classes, found.clusters) == expected
    assert found.variants == (variant,)
    assert not Fit.of(expected_state(weights, found), weights).problems()


def test_a_detector_of_other_clusters_than_the_variants_does_not_fit():
    weights = dense("coco", SMALL, [24, 24, 24, 0])
    found = contents(weights, SMALL)
    misfit = Fit.of(expected_state(weights, found), weights).misfit
    assert set(misfit) == {f"backbone.stage{i}.0.attn.clustering.clustering.4.weight" for i in (1, 2, 3)}


@pytest.mark.parametrize(
    ("kind", "lost"),
    [("coco", "roi_head.bbox_head.fc_cls.weight"), ("upernet", "decode_head.conv_seg.weight")],
)
def test_a_dense_model_that_lost_its_classifier_is_compared_with_the_published_one(kind, lost):
    weights = dense(kind, "test_pacavit")
    del weights[lost]
    found = contents(weights)
    assert found.classes is None
    assert lost in Fit.of(expected_state(weights, found), weights).missing


def test_another_model_is_told_apart():
    assert guess_task({"rpn_head.rpn_cls.bias": None}) == "coco"
    assert guess_task({"decode_head.conv_seg.bias": None}) == "ade20k"
    assert guess_task({"conv1.weight": None}) == "imagenet"


def command(*arguments):
    return CliRunner().invoke(cli, ["checkpoint", "inspect", *map(str, arguments)])


def test_the_command_describes_a_file_that_fits(state, saved):
    result = command(saved({"state_dict": state, "state_dict_ema": state}), "--ema")
    assert result.exit_code == 0
    lines = dict(line.split(maxsplit=1) for line in result.output.splitlines())
    assert lines["weights"] == "161 tensors, 773,994 values; entry 'state_dict_ema', averaged (EMA)"
    assert lines["task"] == "imagenet, 10 classes"
    assert lines["variant"] == "test_pacavit"
    assert lines["clusters"] == "16, 16, 16, 0"
    assert lines["fit"] == "161 of the model's 161 keys, 0 problems"


def test_the_command_lists_exactly_the_keys_that_do_not_fit(state, saved):
    del state["norm4.weight"]
    state["stage9.weight"] = torch.ones(1)
    state["norm1.bias"] = torch.ones(7)
    result = command(saved(state))
    assert result.exit_code == 1
    assert "fit       159 of the model's 161 keys, 3 problems\n" in result.output
    assert result.output.splitlines()[-3:] == [
        "missing   norm4.weight",
        "unknown   stage9.weight",
        "misfit    norm1.bias: (7,) in the file, (32,) in the model",
    ]


def test_the_command_compares_with_the_variant_that_is_named(state, saved):
    result = command(saved(state), "--model", "pacavit_tiny_p2cconv_100_0")
    assert result.exit_code == 1
    assert "misfit    patch_embed.norm.weight: (32,) in the file, (96,) in the model" in result.output


def test_the_command_compares_with_the_task_that_is_named(state, saved):
    result = command(saved(state), "--head", "paca")
    assert result.exit_code == 1
    assert "missing   decode_head.conv_seg.weight" in result.output
    assert "missing   backbone.norm4.weight" in result.output


def test_a_backbone_alone_has_no_classifier(state, saved):
    weights = {key: value for key, value in state.items() if not key.startswith("head.")}
    result = command(saved(weights))
    assert result.exit_code == 0
    assert "imagenet, no classifier" in result.output


def test_an_unknown_variant_is_told(state, saved):
    with pytest.raises(PacavitError, match="did you mean 'test_pacavit'"):
        inspect(saved(state), "test_pacavi")


def test_a_head_is_for_segmentation_alone(state, saved):
    result = command(saved(state), "--task", "coco", "--head", "paca")
    assert result.exit_code == 2
    assert "--head is for ade20k" in result.output


def test_a_file_of_another_model_asks_for_its_name(saved):
    path = saved(timm.create_model("resnet10t", num_classes=3).state_dict())
    with pytest.raises(
        PacavitError, match=r"its keys are not those of a PaCa-ViT, .*; name the variant with --model"
    ):
        inspect(path)
    found = inspect(path, "resnet10t")
    assert (found.problems(), found.contents.classes, found.contents.task) == (0, 3, "imagenet")
    assert "clusters  none" in found.text()
