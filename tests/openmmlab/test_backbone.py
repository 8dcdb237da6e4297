"""The backbone under mmengine: its maps, and that pretrained weights get in and stay in."""

from argparse import Namespace

import pytest
import timm
import torch
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from pacavit.errors import PacavitError
from pacavit.openmmlab import backbone as module
from pacavit.openmmlab import models
from pacavit.openmmlab.backbone import PaCaViTBackbone
from pacavit.params.ade20k import PacaHeadParams

VARIANT = "test_pacavit"
HEAD = PacaHeadParams(channels=8, cluster_loss_weight=0.4, lr_multiplier=1.0, multiplied="meant")


@pytest.fixture
def pretrained():
    torch.manual_seed(0)
    return timm.create_model(VARIANT, num_classes=10).eval()


@pytest.fixture
def weights(pretrained):
    return {key: value for key, value in pretrained.state_dict().items() if not key.startswith("head.")}


@pytest.fixture
def checkpoint(pretrained, tmp_path):
    path = tmp_path / "pretrained.safetensors"
    save_file(pretrained.state_dict(), path)
    return path


def same(state, weights):
    return state.keys() == weights.keys() and all(torch.equal(state[key], weights[key]) for key in weights)


def test_maps_are_the_stage_outputs_of_the_pretrained_model(pretrained, checkpoint):
    images = torch.randn(2, 3, 72, 104)
    backbone = PaCaViTBackbone(VARIANT, str(checkpoint)).eval()
    with torch.no_grad():
        maps = backbone(images)
        expected = pretrained.forward_intermediates(images, intermediates_only=True)
    assert isinstance(maps, tuple)
    assert [tuple(m.shape) for m in maps] == [(2, 32, 18, 26), (2, 64, 9, 13), (2, 96, 5, 7), (2, 128, 3, 4)]
    for ours, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    # Stage outputs are normed: layer norms start as no change of mean 0 and variance 1 over the channels.
    torch.testing.assert_close(maps[3].mean(dim=1), torch.zeros(2, 3, 4), atol=1e-5, rtol=0)


def test_keywords_win_over_the_variants():
    backbone = PaCaViTBackbone(VARIANT, drop_path_rate=0.2, num_clusters=(5, 6, 7, 8))
    sizes = [z.shape[1] for z in backbone.assignments(torch.randn(1, 3, 64, 64))]
    assert sizes == [5, 6, 7, 8]
    assert backbone.stage4[-1].drop_path1.drop_prob == pytest.approx(0.2)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "epoch": 3},
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}, "args": Namespace(lr=0.1)},
        lambda state: {"state_dict_ema": state, "metric": 0.5},
        lambda state: {
            "state_dict": {
                **{f"backbone.{k}": v for k, v in state.items()},
                "decode_head.conv_seg.bias": torch.ones(2),
            }
        },
    ],
    ids=["bare", "model", "timm", "ema", "segmentor"],
)
def test_published_checkpoints_load(wrap, pretrained, weights, tmp_path):
    torch.save(wrap(pretrained.state_dict()), tmp_path / "published.pth")
    backbone = PaCaViTBackbone(VARIANT, str(tmp_path / "published.pth"))
    assert same(backbone.state_dict(), weights)


@pytest.mark.parametrize(
    ("variant", "num_clusters"),
    [
        (VARIANT, (24, 24, 24, 0)),
        ("mlp", (24, 24, 24, 0)),
        ("linear", (24, 24, 24, 0)),
        ("block", (24, 24, 24, 0)),
        ("teacher", (24, 24, 24, 24)),
    ],
)
def test_only_cluster_outputs_of_another_size_start_anew(variant, num_clusters, tmp_path, monkeypatch):
    kwargs = {
        VARIANT: {},
        "mlp": {"clustering": "mlp"},
        "linear": {"clustering": "linear"},
        "block": {"clustering_mode": "block"},
        "teacher": {"teacher_depths": (1, 1, 1, 1), "num_clusters": (16,) * 4},
    }[variant]
    outputs = {
        VARIANT: {f"stage{i}.0.attn.clustering.clustering.4.weight" for i in (1, 2, 3)},
        "mlp": {
            f"stage{i}.0.attn.clustering.clustering.2.{n}" for i in (1, 2, 3) for n in ("weight", "bias")
        },
        "linear": {f"stage{i}.0.attn.clustering.clustering.0.weight" for i in (1, 2, 3)},
        "block": {
            f"stage{i}.{j}.attn.clustering.clustering.4.weight"
            for i, j in ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1))
        },
        "teacher": {f"paca_teacher.to_clusters{i}.{n}" for i in (1, 2, 3, 4) for n in ("weight", "bias")},
    }[variant]
    pretrained = timm.create_model(VARIANT, num_classes=10, **kwargs).state_dict()
    save_file(pretrained, tmp_path / "pretrained.safetensors")
    messages = []
    monkeypatch.setattr(module, "print_log", lambda message, logger: messages.append(message))
    backbone = PaCaViTBackbone(
        VARIANT, str(tmp_path / "pretrained.safetensors"), **{**kwargs, "num_clusters": num_clusters}
    )
    state = backbone.state_dict()
    differing = {
        k for k, v in state.items() if v.shape != pretrained[k].shape or not torch.equal(v, pretrained[k])
    }
    assert differing == outputs
    assert all(state[key].std() > 0 for key in outputs if key.endswith("weight"))
    assert len(messages) == 1
    assert all(key in messages[0] for key in outputs)


@pytest.mark.parametrize("out_indices", [(0, 1, 2, 3), (1, 2, 3), (3,), (0, 2), (1,)])
def test_only_the_maps_that_are_asked_for_are_given(out_indices, pretrained, checkpoint):
    images = torch.randn(2, 3, 64, 96)
    backbone = PaCaViTBackbone(VARIANT, str(checkpoint), out_indices=out_indices).eval()
    with torch.no_grad():
        maps = backbone(images)
        expected = pretrained.forward_intermediates(images, list(out_indices), intermediates_only=True)
    assert len(maps) == len(out_indices)
    for ours, theirs in zip(maps, expected, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("out_indices", [(1, 2, 3), (3,), (0, 2), (1,)])
def test_every_parameter_is_used_whichever_maps_are_asked_for(out_indices):
    """Distributed training waits for the gradient of each."""
    backbone = PaCaViTBackbone(VARIANT, out_indices=out_indices)
    sum(m.square().mean() for m in backbone(torch.randn(2, 3, 64, 64))).backward()
    assert all(p.grad is not None for p in backbone.parameters())


@pytest.mark.parametrize("out_indices", [(), (4,), (-1,), (2, 1), (1, 1), 3, None])
def test_maps_that_there_are_not_are_refused(out_indices):
    with pytest.raises(PacavitError, match="out_indices: .* expected stages from 0 to 3 in rising order"):
        PaCaViTBackbone(VARIANT, out_indices=out_indices)


@pytest.mark.parametrize("kind", [{}, {"teacher_depths": (1, 1, 1, 1), "num_clusters": (16,) * 4}])
@pytest.mark.parametrize("frozen", [0, 1, 2, 4])
def test_frozen_stages_stay_as_they_are(frozen, kind):
    """One step of a training, with dropped paths and batch norms that would count."""
    torch.manual_seed(0)
    backbone = PaCaViTBackbone(VARIANT, frozen_stages=frozen, drop_path_rate=0.5, **kind).train()
    images = torch.randn(2, 3, 64, 64)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    maps = backbone(images)
    again = backbone(images)
    if frozen < 4:
        sum(m.square().mean() for m in maps).backward()
        torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=1.0).step()
    for ours, theirs in zip(maps[:frozen], again[:frozen], strict=True):
        assert torch.equal(ours, theirs)
        assert not ours.requires_grad
    for ours, theirs in zip(backbone(images)[:frozen], maps[:frozen], strict=True):
        assert torch.equal(ours, theirs)
    changed = {key for key, value in backbone.state_dict().items() if not torch.equal(value, before[key])}
    later = tuple(f"{name}{i}" for i in range(frozen + 1, 5) for name in ("stage", "norm", "transition"))
    later += (f"transition{frozen}",) if frozen else ("paca_teacher",)
    assert all(key.startswith(later) for key in changed)
    assert bool(changed) == (frozen < 4)
    assert backbone.eval().train().training


def test_stages_that_there_are_not_cannot_be_frozen():
    with pytest.raises(PacavitError, match="frozen_stages: 5; expected -1 to 4"):
        PaCaViTBackbone(VARIANT, frozen_stages=5)


def test_batch_norms_stay_in_evaluation_mode_where_asked_for():
    kind = {"teacher_depths": (1, 1, 1, 1), "num_clusters": (16,) * 4}
    backbone = PaCaViTBackbone(VARIANT, norm_eval=True, **kind).train()
    norms = [m for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert backbone.paca_teacher.training


def test_recomputed_blocks_give_the_same_gradients():
    torch.manual_seed(0)
    plain, saving = PaCaViTBackbone(VARIANT), PaCaViTBackbone(VARIANT, with_cp=True)
    saving.load_state_dict(plain.state_dict())
    assert saving.stage1.grad_checkpointing
    images = torch.randn(2, 3, 64, 64)
    for backbone in (plain, saving):
        sum(m.square().mean() for m in backbone(images)).backward()
    for one, other in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize("listed", [True, False])
def test_init_cfg_loads_weights_when_the_model_is_initialised(listed, checkpoint, weights):
    config = {"type": "Pretrained", "checkpoint": str(checkpoint)}
    backbone = PaCaViTBackbone(VARIANT, out_indices=(0, 1), init_cfg=[config] if listed else config)
    before = backbone.state_dict()
    assert not torch.equal(before["stage1.0.attn.q.weight"], weights["stage1.0.attn.q.weight"])
    backbone.init_weights()
    assert same(backbone.state_dict(), {key: weights[key] for key in before})


def test_init_cfg_initialises_layers():
    config = {"type": "Constant", "val": 0.0, "layer": "Linear"}
    backbone = PaCaViTBackbone(VARIANT, init_cfg=config)
    backbone.init_weights()
    assert not backbone.stage1[0].mlp.fc1.weight.any()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.pth", "no such checkpoint"),
        ("https://host/a.pth", "addresses are not opened; fetch the file"),
        (None, "init_cfg: type Pretrained: expected checkpoint, the path of a file"),
    ],
)
def test_init_cfg_names_a_file(path, message):
    backbone = PaCaViTBackbone(VARIANT, init_cfg={"type": "Pretrained", "checkpoint": path})
    with pytest.raises(PacavitError, match=message):
        backbone.init_weights()


def test_weights_come_from_one_place(checkpoint):
    with pytest.raises(PacavitError, match="checkpoint and an init_cfg of type Pretrained: give one"):
        PaCaViTBackbone(VARIANT, str(checkpoint), init_cfg={"type": "Pretrained", "checkpoint": "a.pth"})


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(PacavitError, match=r"nowhere\.pth: no such checkpoint"):
        PaCaViTBackbone(VARIANT, str(tmp_path / "nowhere.pth"))


@pytest.mark.parametrize("name", ["broken.pth", "broken.safetensors"])
def test_an_unreadable_checkpoint_is_named(name, tmp_path):
    (tmp_path / name).write_bytes(b"\x13not a checkpoint")
    with pytest.raises(PacavitError, match=rf"{name}: not a readable checkpoint"):
        PaCaViTBackbone(VARIANT, str(tmp_path / name))


def test_code_in_a_checkpoint_does_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"state_dict": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(PacavitError, match="not a readable checkpoint"):
        PaCaViTBackbone(VARIANT, str(tmp_path / "evil.pth"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("norm4.weight"), "in 1 places: norm4.weight missing"),
        (lambda s: s.update({"stage9.weight": torch.ones(1)}), "in 1 places: stage9.weight unknown"),
        (lambda s: s.update({"norm4.weight": torch.ones(7)}), r"norm4.weight is \(7,\), not \(128,\)"),
    ],
    ids=["missing", "unknown", "shape"],
)
def test_a_checkpoint_that_does_not_fit_is_refused_with_its_keys(change, message, pretrained, tmp_path):
    state = pretrained.state_dict()
    change(state)
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(PacavitError, match=message):
        PaCaViTBackbone(VARIANT, str(tmp_path / "other.safetensors"))


def runner_of(model, folder):
    samples = [
        {
            "inputs": torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8),
            "data_samples": SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 4, (1, 64, 64)))),
        }
        for _ in range(2)
    ]
    return Runner(
        model,
        str(folder),
        train_dataloader=DataLoader(samples, batch_size=2, collate_fn=pseudo_collate),
        train_cfg={"by_epoch": False, "max_iters": 1},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.0}},
        default_scope=None,
        experiment_name=folder.parent.name,
    )


def segmentor(checkpoint, **kwargs):
    encoder = models.backbone(VARIANT, str(checkpoint), 0.0, **kwargs)
    return models.build(models.paca_segmentor(encoder, 4, HEAD, crop=64, norm="BN"), "mmseg")


def test_mmengines_runner_trains_from_the_pretrained_weights(checkpoint, weights, tmp_path):
    """The runner initialises a model after it is built; at a rate of 0 one step must leave pretrained weights."""
    model = segmentor(checkpoint)
    head = {key: value.clone() for key, value in model.decode_head.state_dict().items()}
    runner_of(model, tmp_path / "work").train()
    assert model.is_init
    assert not same(model.decode_head.state_dict(), head)  # the runner did initialise what is new
    assert same(model.backbone.state_dict(), weights)


def test_lost_pretrained_weights_are_random_once_mmengines_runner_trains(pretrained, tmp_path):
    """As in the published code, whose backbone is initialised again after it loaded its weights."""
    torch.manual_seed(1)
    moved = {key: value + 0.1 * torch.randn_like(value) for key, value in pretrained.state_dict().items()}
    save_file(moved, tmp_path / "moved.safetensors")
    model = segmentor(tmp_path / "moved.safetensors", pretrained_weights="lost")
    state = model.backbone.state_dict()
    assert all(torch.equal(state[key], moved[key]) for key in state)
    runner_of(model, tmp_path / "work").train()
    for key, value in model.backbone.state_dict().items():
        assert not torch.equal(value, moved[key]), key
        if key.endswith("bias"):
            assert not value.any(), key
        elif value.ndim == 1:
            assert (value == 1).all(), key  # the scale of a norm
    linear = model.backbone.stage1[0].mlp.fc1.weight
    assert linear.std().item() == pytest.approx(0.02, rel=0.1)


def test_running_statistics_outlive_lost_weights(tmp_path):
    """The published code initialises the layers of the teacher again, which leaves their buffers."""
    kwargs = {"teacher_depths": (1, 1, 1, 1), "num_clusters": (16,) * 4}
    state = timm.create_model(VARIANT, **kwargs).state_dict()
    kept = {key for key in state if key.endswith(("running_mean", "running_var", "blur_filter"))}
    state = {key: value + 0.5 if key in kept else value for key, value in state.items()}
    save_file(state, tmp_path / "teacher.safetensors")
    backbone = PaCaViTBackbone(
        VARIANT, str(tmp_path / "teacher.safetensors"), pretrained_weights="lost", **kwargs
    )
    backbone.init_weights()
    after = backbone.state_dict()
    assert any("running_var" in key for key in kept)
    assert all(torch.equal(after[key], state[key]) for key in kept)
    assert not torch.equal(after["stage1.0.attn.q.weight"], state["stage1.0.attn.q.weight"])


def test_pretrained_weights_are_kept_or_lost():
    with pytest.raises(PacavitError, match="pretrained_weights: 'gone'; choose 'kept' or 'lost'"):
        PaCaViTBackbone(VARIANT, pretrained_weights="gone")
