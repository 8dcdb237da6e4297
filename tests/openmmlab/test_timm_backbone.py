"""Models of timm as backbones: equal to mmdetection's and mmsegmentation's own, and trained as those are."""

import copy
from types import SimpleNamespace

import pytest
import timm
import torch
from reference_backbones import CONFIGS, in_timm, names_in_timm, reference
from safetensors.torch import load_file, save_file
from timm.layers import DropPath

from optimizers import options_by_name
from pacavit.errors import PacavitError
from pacavit.openmmlab import models
from pacavit.openmmlab.timm_backbone import timm_backbone
from pacavit.params.targets import Model
from pacavit.training import coco
from pacavit.training.finetuning import create_optimizer
from small_models import SMALL_DETECTOR

SWIN, PVT = "swin_tiny_patch4_window7_224", "pvt_v2_b0"
#: Largest difference of a map over its largest value. mmdetection's PVTv2 has another eps in some layer norms.
TOLERANCE = {SWIN: 2e-6, PVT: 1e-5}

#: A small model of each family, and one of a family that nothing is known of.
FAMILIES = {
    "swin": (SWIN, {"embed_dim": 24, "depths": [1, 2, 1, 1], "num_heads": [1, 2, 3, 6]}),
    "pvt_v2": (PVT, {"embed_dims": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_heads": [1, 2, 3, 4]}),
    "convnext": ("convnext_atto", {"dims": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}),
    "resnet": ("resnet18", {"channels": [8, 16, 24, 32], "layers": [1, 1, 1, 1]}),
    "other": ("test_efficientnet", {}),
}


def small(family, **options):
    name, kwargs = FAMILIES[family]
    torch.manual_seed(0)
    return timm_backbone(name, kwargs=kwargs, **options)


def images(*size):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", CONFIGS)
def test_there_are_as_many_parameters_as_in_mmdetection(name):
    with torch.device("meta"):
        ours = timm_backbone(name)
    trained = sum(p.numel() for p in ours.parameters() if p.requires_grad)
    assert trained == sum(p.numel() for p in reference(name).parameters())


@pytest.mark.parametrize(("name", "scope"), [(SWIN, "mmdet"), (SWIN, "mmseg"), (PVT, "mmdet")])
@pytest.mark.parametrize("size", [(224, 224), (200, 264), (51, 70)])
def test_maps_are_those_of_the_openmmlab_projects_own_backbone(name, scope, size):
    theirs, ours = reference(name, scope), timm_backbone(name).eval()
    weights = in_timm(theirs)
    rest = ours.state_dict().keys() - weights.keys()
    assert rest == {key for key in ours.state_dict() if key.startswith("norm.")}  # of timm's classifier alone
    ours.load_state_dict({**ours.state_dict(), **weights})
    with torch.inference_mode():
        pairs = zip(theirs(images(*size)), ours(images(*size)), strict=True)
    for expected, found in pairs:
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= TOLERANCE[name] * expected.abs().max()


@pytest.mark.slow
def test_swin_is_mmdetections_at_800_by_1333_pixels():
    theirs, ours = reference(SWIN), timm_backbone(SWIN).eval()
    ours.load_state_dict({**ours.state_dict(), **in_timm(theirs)})
    with torch.inference_mode():
        for expected, found in zip(theirs(images(800, 1333)), ours(images(800, 1333)), strict=True):
            assert (found - expected).abs().max() <= TOLERANCE[SWIN] * expected.abs().max()


#: ``paramwise_cfg`` of mmdetection's configurations, ``swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py`` and ``pvt/``.
PUBLISHED = {
    SWIN: {
        "absolute_pos_embed": {"decay_mult": 0.0},
        "relative_position_bias_table": {"decay_mult": 0.0},
        "norm": {"decay_mult": 0.0},
    },
    PVT: {},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_parameter_has_the_rate_and_decay_of_mmdetections_configuration(name):
    def groups(config, keys, constructor):
        recipe = SimpleNamespace(lr=1e-4, betas=[0.9, 0.999], weight_decay=0.05)
        task = SimpleNamespace(recipe=recipe, custom_keys=keys)
        detector = models.build(config, "mmdet")
        options = options_by_name(detector, create_optimizer(task, detector, constructor))
        return {key: (group["lr"], group["weight_decay"]) for key, group in options.items()}

    theirs = {**CONFIGS[name], "type": f"mmdet.{CONFIGS[name]['type']}"}
    channels = models._dims(models.backbone(name, None, 0.0))
    expected = {}
    for key, options in groups(
        models.mask_rcnn(theirs, 3, SMALL_DETECTOR, channels),
        PUBLISHED[name],
        "DefaultOptimWrapperConstructor",
    ).items():
        if key.startswith("backbone."):
            own = names_in_timm(key.removeprefix("backbone."))
            expected |= {f"backbone.{one}": options for one in own}
        else:
            expected[key] = options
    ours = models.mask_rcnn(models.backbone(name, None, 0.0), 3, SMALL_DETECTOR)
    found = groups(ours, coco.multipliers(Model.of(name)), "GroupedOptimWrapperConstructor")
    assert found == expected
    assert len(set(expected.values())) == (2 if name == SWIN else 1)


def test_convnext_decays_no_vector_of_the_backbone_as_mmsegmentations_configuration():
    name, kwargs = FAMILIES["convnext"]
    backbone = timm_backbone(name, kwargs=kwargs)
    keys = coco.multipliers(Model("small", name, kwargs))
    timms = {f"backbone.{key}" for key, p in backbone.named_parameters() if not key.startswith("norm")}
    assert keys.keys() <= timms
    assert keys.keys() == {
        key for key in timms if backbone.get_parameter(key.removeprefix("backbone.")).ndim < 2
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_keys_are_those_of_pretraining_without_the_classifier(family, tmp_path):
    name, kwargs = FAMILIES[family]
    torch.manual_seed(1)
    pretrained = timm.create_model(
        name, num_classes=7, **kwargs, **({"always_partition": True} if family == "swin" else {})
    )
    save_file(pretrained.state_dict(), tmp_path / "pretrained.safetensors")
    backbone = small(family, checkpoint=str(tmp_path / "pretrained.safetensors"))
    own, file = backbone.state_dict(), load_file(tmp_path / "pretrained.safetensors")
    assert file.keys() - own.keys() == {
        f"{backbone.as_backbone.classifier}.{part}" for part in ("weight", "bias")
    }
    assert all(torch.equal(own[key], file[key]) for key in file.keys() & own.keys())
    norms = {f"norm{i}.{part}" for i in range(4) for part in ("weight", "bias")}
    assert own.keys() - file.keys() == (norms if family in ("swin", "convnext") else set())


@pytest.mark.parametrize("family", FAMILIES)
def test_what_no_map_depends_on_is_not_trained_and_all_else_is(family):
    backbone = small(family, drop_path_rate=0.0).train()
    sum(one.square().sum() for one in backbone(images(64, 96))).backward()
    for name, p in backbone.named_parameters():
        assert (p.grad is not None) == p.requires_grad, name


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_activations_and_recomputed_ones_give_the_same_gradients(family):
    plain, saving = small(family), small(family, with_cp=True)
    gradients = []
    for backbone in (plain, saving):
        sum(one.square().sum() for one in backbone.train()(images(64, 96))).backward()
        gradients.append([p.grad for p in backbone.parameters() if p.grad is not None])
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(*gradients, strict=True))


def test_batch_norms_keep_the_statistics_of_pretraining():
    backbone = small("resnet").train()
    before = copy.deepcopy(backbone.state_dict())
    backbone(images(64, 64))
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    assert backbone.layer1.training
    small("resnet", norm_eval=False).train()(images(64, 64))


@pytest.mark.parametrize("out_indices", [(0, 1, 2, 3), (1, 3), (0,)])
def test_the_maps_that_are_asked_for_are_given(out_indices):
    every, some = small("swin").eval(), small("swin", out_indices=out_indices).eval()
    some.load_state_dict({key: every.state_dict()[key] for key in some.state_dict()})
    with torch.inference_mode():
        maps = every(images(64, 64))
        assert all(torch.equal(a, maps[i]) for a, i in zip(some(images(64, 64)), out_indices, strict=True))


def test_a_table_of_relative_positions_of_smaller_windows_is_interpolated(tmp_path):
    """At 64 pixels timm's classifier has windows of at most 4 patches in the third stage."""
    name, kwargs = FAMILIES["swin"]
    pretrained = timm.create_model(name, img_size=64, num_classes=7, **kwargs)
    table = "layers.2.blocks.0.attn.relative_position_bias_table"
    assert len(pretrained.state_dict()[table]) == 7 * 7
    save_file(pretrained.state_dict(), tmp_path / "pretrained.safetensors")
    backbone = small("swin", checkpoint=str(tmp_path / "pretrained.safetensors"))
    loaded = backbone.state_dict()[table]
    assert len(loaded) == 13 * 13
    assert loaded.mean(0) == pytest.approx(pretrained.state_dict()[table].mean(0), abs=0.01)


def test_a_file_of_another_model_is_refused(tmp_path):
    save_file(timm.create_model("resnet18", num_classes=7).state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(PacavitError, match=r"other\.safetensors: does not fit the backbone in \d+ places"):
        small("resnet", checkpoint=str(tmp_path / "other.safetensors"))


def test_lost_weights_are_those_that_the_model_began_with(tmp_path):
    name, kwargs = FAMILIES["pvt_v2"]
    save_file(timm.create_model(name, num_classes=7, **kwargs).state_dict(), tmp_path / "file.safetensors")
    begun, lost = (
        small("pvt_v2"),
        small("pvt_v2", checkpoint=str(tmp_path / "file.safetensors"), pretrained_weights="lost"),
    )
    lost.init_weights()
    assert all(torch.equal(a, b) for a, b in zip(begun.parameters(), lost.parameters(), strict=True))


@pytest.mark.parametrize("family", ["swin", "pvt_v2", "convnext", "resnet"])
def test_the_last_block_drops_its_path_most(family):
    rates = [m.drop_prob for m in small(family, drop_path_rate=0.3).modules() if isinstance(m, DropPath)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.3)


def test_maps_out_of_order_are_refused():
    with pytest.raises(
        PacavitError, match=r"out_indices: \(3, 1\); expected stages from 0 to 3 in rising order"
    ):
        small("resnet", out_indices=(3, 1))
