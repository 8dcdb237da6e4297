"""What timm's users may do with these models, on one small model of every kind.

timm's own suite (test_timm_suite.py) asks the same of the published variants, except for what is said here about
intermediate features: it asks that of a list of timm's own files alone.
"""

import copy
import inspect
import pickle

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.data import resolve_data_config
from timm.models._features import FeatureGetterNet
from timm.models._manipulate import group_parameters
from timm.optim import create_optimizer_v2
from torchvision.models.feature_extraction import create_feature_extractor

from marks import tiny_first
from models.kinds import KINDS
from pacavit.models import PaCaViT, paca_vit, variant_config

WIDTHS = [32, 64, 96, 128]


def images(batch: int = 2, height: int = 64, width: int = 64) -> torch.Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def create(kind: str = "conv", **kwargs) -> PaCaViT:
    torch.manual_seed(0)
    return timm.create_model("test_pacavit", **{**KINDS[kind], **kwargs}).eval()


def slow_but(*quick):
    """Return all kinds as parameters, of which the named ones are in every run of the tests."""
    return [kind if kind in quick else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]


each_kind = pytest.mark.parametrize("model", slow_but("conv"), indirect=True)


@pytest.fixture(params=slow_but("conv", "teacher"))
def model(request):
    """A model of each kind, for inference."""
    return create(request.param)


# Registration


@pytest.mark.parametrize("name", tiny_first(paca_vit._VARIANTS))
def test_the_default_configuration_is_complete_and_true(name):
    model = timm.create_model(name, device="meta").eval()
    cfg = model.pretrained_cfg
    fields = (
        "input_size pool_size fixed_input_size interpolation crop_pct crop_mode mean std num_classes first_conv "
        "classifier license description origin_url paper_name paper_ids architecture tag"
    )
    assert not [field for field in fields.split() if cfg.get(field) in (None, "")]
    assert not timm.is_model_pretrained(name)
    assert timm.models.model_entrypoint(name).__doc__ == cfg["description"]
    weights = model.state_dict()
    assert weights[f"{cfg['first_conv']}.weight"].shape[1] == cfg["input_size"][0] == model.in_chans
    assert weights[f"{cfg['classifier']}.weight"].shape == (cfg["num_classes"], model.num_features)
    features = model.forward_features(torch.empty(1, *cfg["input_size"], device="meta"))
    assert features.shape == (1, model.num_features, *cfg["pool_size"])


def test_transforms_follow_from_the_configuration():
    config = resolve_data_config(model=create())
    assert (config["input_size"], config["crop_pct"], config["interpolation"]) == (
        (3, 64, 64),
        0.9,
        "bicubic",
    )


# Creation


def test_the_callers_keywords_win_and_leave_no_trace():
    before = variant_config("test_pacavit")
    model = timm.create_model(
        "test_pacavit",
        num_classes=7,
        in_chans=1,
        drop_path_rate=0.3,
        num_clusters=(3, 0, 2, 1),
        clustering="mlp",
    )
    assert model(torch.randn(1, 1, 64, 64)).shape == (1, 7)
    assert model.stage1[0].attn.clustering.clustering[2].out_features == 3
    assert model.stage4[-1].drop_path1.drop_prob == pytest.approx(0.3)
    assert variant_config("test_pacavit") == before
    assert timm.create_model("test_pacavit").num_clusters == before["num_clusters"]


def test_an_image_size_is_accepted_and_changes_nothing():
    model, other = create(), create(img_size=96)
    assert torch.equal(other(images(1, 96, 96)), model(images(1, 96, 96)))
    assert torch.equal(other(images()), model(images()))


def test_an_unknown_keyword_is_refused():
    with pytest.raises(TypeError, match="depht"):
        timm.create_model("test_pacavit", depht=3)


@pytest.mark.parametrize("kind", KINDS)
def test_device_and_dtype_are_those_asked_for(kind):
    tensors = create(kind, device="meta", dtype=torch.float64).state_dict()
    assert {tensor.device.type for tensor in tensors.values()} == {"meta"}
    counters = {name for name in tensors if name.endswith("num_batches_tracked")}
    assert {tensor.dtype for name, tensor in tensors.items() if name not in counters} == {torch.float64}


@pytest.mark.parametrize("kwargs", [{}, {"num_classes": 3, "in_chans": 1}], ids=["as it is", "adapted"])
def test_a_checkpoint_loads_as_pretrained_weights(tmp_path, kwargs):
    source = create()
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    overlay = {"file": str(tmp_path / "model.safetensors")}
    loaded = create(pretrained=True, pretrained_cfg_overlay=overlay, **kwargs)
    assert torch.equal(loaded.stage1[0].attn.q.weight, source.stage1[0].attn.q.weight)
    if kwargs:
        grey = images()[:, :1]
        torch.testing.assert_close(
            loaded.forward_features(grey), source.forward_features(grey.expand(-1, 3, -1, -1))
        )
        assert loaded.head.out_features == 3
    else:
        assert torch.equal(loaded(images()), source(images()))


def test_it_can_be_copied_and_pickled(model):
    expected = model(images())
    assert torch.equal(copy.deepcopy(model)(images()), expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(images()), expected)


# Features and head


def test_forward_is_features_then_head(model):
    features = model.forward_features(images())
    assert features.shape == (2, model.num_features, 2, 2)
    pooled = model.forward_head(features, pre_logits=True)
    assert pooled.shape == (2, model.head_hidden_size)
    torch.testing.assert_close(pooled, features.mean(dim=(2, 3)))
    assert torch.equal(model.get_classifier()(pooled), model(images()))


def test_the_classifier_can_be_replaced(model):
    model.double().reset_classifier(3)
    x = images().double()
    assert model.num_classes == model(x).shape[1] == 3
    model.reset_classifier(0)
    assert isinstance(model.get_classifier(), torch.nn.Identity)
    assert model(x).shape == (2, 128)
    model.reset_classifier(0, "")
    assert model(x).shape == (2, 128, 2, 2)
    model.reset_classifier(4, "avg")
    assert model(x).shape == (2, 4)
    with pytest.raises(ValueError, match="expected 'avg' or ''"):
        model.reset_classifier(4, "max")


def test_dropout_of_the_head_acts_in_training_alone():
    model = create(drop_rate=0.5)
    features = model.forward_features(images())
    assert torch.equal(model.forward_head(features), create().forward_head(features))
    model.train()
    assert (model.forward_head(features, pre_logits=True) == 0).any()


@pytest.mark.parametrize("out_indices", [(0,), (1, 3), (0, 1, 2), (-1,), 2])
@pytest.mark.parametrize("kind", KINDS)
def test_features_only_gives_the_chosen_stages(kind, out_indices):
    chosen = range(4)[-out_indices:] if isinstance(out_indices, int) else [i % 4 for i in out_indices]
    extractor = create(kind, features_only=True, out_indices=out_indices)
    assert extractor.feature_info.channels() == [WIDTHS[i] for i in chosen]
    assert extractor.feature_info.reduction() == [4 * 2**i for i in chosen]
    assert extractor.feature_info.module_name() == [f"norm{i + 1}" for i in chosen]
    whole = create(kind)
    extractor.model.load_state_dict(whole.state_dict(), strict=False)
    expected = whole.forward_intermediates(images(), intermediates_only=True)
    found = extractor(images())
    assert len(found) == len(chosen)
    for feature, i in zip(found, chosen, strict=True):
        torch.testing.assert_close(feature, expected[i])
    sum(feature.sum() for feature in found).backward()
    assert not [name for name, p in extractor.named_parameters() if p.grad is None]


def test_features_only_takes_all_stages_unless_told():
    assert len(create(features_only=True)(images())) == 4


def test_intermediates_are_the_normed_maps_of_the_stages(model):
    final, maps = model.forward_intermediates(images())
    assert [tuple(m.shape) for m in maps] == [
        (2, c, s, s) for c, s in zip(WIDTHS, (16, 8, 4, 2), strict=True)
    ]
    assert torch.equal(final, maps[-1])
    assert torch.equal(final, model.forward_features(images()))
    for given, again in zip(maps, model.forward_intermediates(images(), norm=True)[1], strict=True):
        assert torch.equal(given, again)


@pytest.mark.parametrize(
    ("indices", "chosen"),
    [(None, [0, 1, 2, 3]), (2, [2, 3]), ([0, 2], [0, 2]), ([-1], [3]), ([2, 0], [0, 2])],
)
def test_intermediates_can_be_chosen(indices, chosen):
    model = create()
    maps = model.forward_intermediates(images(), intermediates_only=True)
    found = model.forward_intermediates(images(), indices, intermediates_only=True)
    assert all(torch.equal(m, maps[i]) for m, i in zip(found, chosen, strict=True))


@pytest.mark.parametrize("indices", [[4], [-5], 5, 0])
def test_intermediates_that_do_not_exist_are_refused(indices):
    with pytest.raises(AssertionError, match="out of range"):
        create().forward_intermediates(images(), indices)


def test_intermediates_can_stop_early(model):
    maps = model.forward_intermediates(images(), intermediates_only=True)
    ran = []
    model.stage3.register_forward_hook(lambda *args: ran.append(3))
    final, found = model.forward_intermediates(images(), [0, 1], stop_early=True)
    assert ran == []
    assert torch.equal(final, found[-1])
    assert all(torch.equal(m, expected) for m, expected in zip(found, maps[:2], strict=True))


def test_intermediates_come_as_maps_or_tokens(model):
    _, maps = model.forward_intermediates(images())
    _, tokens = model.forward_intermediates(images(), output_fmt="NLC")
    for m, t in zip(maps, tokens, strict=True):
        assert torch.equal(m.flatten(2).transpose(1, 2), t)
    with pytest.raises(ValueError, match="expected 'NCHW' or 'NLC'"):
        model.forward_intermediates(images(), output_fmt="NHWC")


def test_intermediates_take_timms_options():
    ours = inspect.signature(PaCaViT.forward_intermediates).parameters
    timms = inspect.signature(timm.models.PyramidVisionTransformerV2.forward_intermediates).parameters
    assert list(ours) == list(timms)
    assert [p.default for p in ours.values()] == [p.default for p in timms.values()]


@pytest.mark.parametrize("last", range(4))
def test_a_pruned_model_is_its_first_stages(model, last):
    whole, maps = copy.deepcopy(model), model.forward_intermediates(images(), intermediates_only=True)
    assert model.prune_intermediate_layers([last]) == [last]
    torch.testing.assert_close(model.forward_features(images()), maps[last])
    torch.testing.assert_close(model(images()), maps[last])
    assert model.num_features == model.head_hidden_size == WIDTHS[last]
    whole.prune_intermediate_layers([last], prune_head=False)
    assert (whole.num_classes > 0) == (last == 3)
    sum(m.sum() for m in model.train().forward_intermediates(images(), intermediates_only=True)).backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]


# Training


def test_groups_follow_depth(model):
    depth = group_parameters(model, model.group_matcher(), reverse=True)
    assert depth.keys() == dict(model.named_parameters()).keys()
    in_order = (
        "patch_embed.norm stage1.0.attn.q transition1.norm stage2.0.attn.q stage2.1.mlp.fc1 transition2.norm "
        "stage3.1.attn.q transition3.norm stage4.0.attn.q head"
    )
    depths = [depth[f"{name}.weight"] for name in in_order.split()]
    assert depths == sorted(set(depths))
    assert depth["norm1.weight"] == depth["transition1.norm.weight"]
    assert depth["norm4.weight"] == depth["stage4.0.attn.q.weight"]
    coarse = group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    assert set(coarse.values()) == set(range(6))


def test_layer_decay_lowers_rates_towards_the_stem():
    model = create()
    optimizer = create_optimizer_v2(model, "adamw", lr=1.0, weight_decay=0.05, layer_decay=0.5)
    scales = {id(p): group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
    assert scales[id(model.head.weight)] == 1
    assert scales[id(model.patch_embed.norm.weight)] == min(scales.values()) < 0.01


def test_weight_decay_leaves_vectors_out(model):
    assert model.no_weight_decay() == set()
    optimizer = create_optimizer_v2(model, "adamw", weight_decay=0.05)
    free, decayed = sorted(optimizer.param_groups, key=lambda group: group["weight_decay"])
    assert free["weight_decay"] == 0
    assert all(p.ndim == 1 for p in free["params"])
    assert all(p.ndim > 1 for p in decayed["params"])


def test_checkpointing_gives_the_same_gradients(model):
    gradients = []
    for enable in (False, True):
        trained = copy.deepcopy(model).train()
        trained.set_grad_checkpointing(enable)
        trained(images()).sum().backward()
        gradients.append([p.grad for p in trained.parameters()])
    torch.testing.assert_close(*gradients)


# Tools


@each_kind
@torch.no_grad()
def test_torchscript(model):
    scripted = torch.jit.script(model)
    for x in (images(), images(1, 70, 90)):
        torch.testing.assert_close(scripted(x), model(x))


@torch.no_grad()
def test_torchscript_of_features():
    extractor = create("teacher", features_only=True, out_indices=(0, 2))
    torch.testing.assert_close(torch.jit.script(extractor)(images()), extractor(images()))


@torch.no_grad()
def test_fx_gives_features_by_name(model):
    extractor = create_feature_extractor(model, {"norm2": "middle", "head": "logits"})
    found = extractor(images())
    torch.testing.assert_close(found["logits"], model(images()))
    torch.testing.assert_close(found["middle"], model.forward_intermediates(images())[1][1])


@pytest.mark.slow
def test_it_compiles_as_one_graph(model):
    torch.compiler.reset()
    compiled = torch.compile(model.train(), fullgraph=True, backend="aot_eager")
    expected, found = copy.deepcopy(model), compiled(images())
    torch.testing.assert_close(found, expected(images()))
    found.sum().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]


@pytest.mark.slow
@torch.no_grad()
def test_it_exports_for_any_batch_and_size(model):
    dynamic = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(model, (images(),), dynamic_shapes=(dynamic,)).module()
    for x in (images(), images(3, 96, 160)):
        torch.testing.assert_close(exported(x), model(x))


@each_kind
@torch.no_grad()
def test_the_exporter_by_tracing_gives_a_graph_for_any_batch_and_size(model, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="no onnxruntime: pip install 'pacavit[export]'")
    pytest.importorskip("onnx", reason="no onnx: pip install 'pacavit[export]'")
    path, axes = tmp_path / "model.onnx", {"images": {0: "batch", 2: "height", 3: "width"}}
    names = {"input_names": ["images"], "output_names": ["logits"]}
    torch.onnx.export(model, (images(),), path, dynamo=False, dynamic_axes=axes, **names)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for x in (images(), images(3, 96, 160), images(1, 70, 90)):
        (logits,) = session.run(["logits"], {"images": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), model(x), rtol=1e-4, atol=1e-5)


def test_a_getter_wraps_a_model_without_pruning_it(model):
    getter = FeatureGetterNet(model, out_indices=(1, 2), prune=False)
    assert [tuple(m.shape) for m in getter(images())] == [(2, 64, 8, 8), (2, 96, 4, 4)]
    assert model(images()).shape == (2, 1000)
