"""How patch-to-cluster attention works, as facts that hold."""

import pytest
import timm
import torch
from torch.nn import functional as F

from pacavit.errors import PacavitError
from pacavit.models import PaCaViT, paca_vit, variant_config
from pacavit.models.paca_vit import PatchToClusterAttention, create_clustering

KINDS = ("conv", "mlp", "linear")


def attention(kind: str = "linear", num_clusters: int = 5, dim: int = 8) -> PatchToClusterAttention:
    torch.manual_seed(0)
    clustering = create_clustering(kind, dim, num_clusters) if num_clusters else None
    return PatchToClusterAttention(dim, num_heads=2, num_clusters=num_clusters, clustering=clustering)


def tiny(**kwargs) -> PaCaViT:
    torch.manual_seed(0)
    sizes = {
        "embed_dims": (8, 8, 8, 8),
        "depths": (2, 2, 1, 1),
        "num_heads": (2, 2, 2, 2),
        "num_clusters": (4, 3, 2, 0),
    }
    return PaCaViT(**{**sizes, "num_classes": 5, **kwargs})


@pytest.mark.parametrize("kind", KINDS)
def test_each_cluster_is_a_convex_combination_of_the_patches(kind):
    assignment = attention(kind).assign(torch.randn(2, 12, 8), (3, 4))
    assert assignment.shape == (2, 5, 12)
    assert (assignment >= 0).all()
    assert torch.allclose(assignment.sum(dim=2), torch.ones(2, 5))


def test_without_clusters_patches_attend_to_patches():
    module = attention(num_clusters=0)
    x = torch.randn(2, 12, 8)
    weight = torch.cat([module.q.weight, module.k.weight, module.v.weight])
    bias = torch.cat([module.q.bias, module.k.bias, module.v.bias])
    t = x.transpose(0, 1)
    plain, _ = F.multi_head_attention_forward(
        t, t, t, 8, 2, weight, bias, None, None, False, 0.0, module.proj.weight, module.proj.bias
    )
    assert torch.allclose(module(x, (3, 4))[0], plain.transpose(0, 1), atol=1e-6)


def test_stage_wise_the_first_block_clusters_and_the_others_reuse_it():
    model = tiny()
    assert [block.attn.clustering is not None for block in model.stage1] == [True, False]
    seen = []
    for block in model.stage1:
        block.attn.register_forward_hook(lambda module, args, output: seen.append(output[1]))
    model(torch.randn(1, 3, 32, 32))
    assert seen[0] is seen[1]


def test_block_wise_every_block_clusters():
    model = tiny(clustering_mode="block")
    assert [block.attn.clustering is not None for block in model.stage1] == [True, True]


@pytest.mark.parametrize("kind", ["mlp", "linear"])
def test_without_convolution_the_order_of_the_patches_does_not_matter(kind):
    module = attention(kind)
    x, order = torch.randn(1, 12, 8), torch.randperm(12)
    assert torch.allclose(module(x, (3, 4))[0][:, order], module(x[:, order], (3, 4))[0], atol=1e-6)


def test_odd_grids_round_up():
    maps = tiny().forward_intermediates(torch.randn(1, 3, 100, 132), intermediates_only=True)
    assert [tuple(m.shape[2:]) for m in maps] == [(25, 33), (13, 17), (7, 9), (4, 5)]


def test_gradients_equal_finite_differences():
    module = attention("conv", num_clusters=3, dim=4).double()
    x = torch.randn(1, 6, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: module(x, (2, 3))[0], (x,))


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


def test_a_teacher_can_be_built_twice():
    for _ in range(2):
        model = tiny(teacher_depths=(1, 1, 1, 1))
        assert model(torch.randn(2, 3, 64, 64)).shape == (2, 5)
        assert not any(block.attn.clustering is not None for block in model.stage1)


def test_drop_path_grows_linearly_over_all_blocks():
    model = tiny(drop_path_rate=0.5)
    rates = [
        getattr(block.drop_path1, "drop_prob", 0.0)
        for i in range(1, 5)
        for block in model.get_submodule(f"stage{i}")
    ]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_features_only_gives_the_chosen_stages():
    model = timm.create_model("test_pacavit", features_only=True, out_indices=(1, 3))
    assert model.feature_info.channels() == [64, 128]
    assert model.feature_info.reduction() == [8, 32]
    assert [tuple(m.shape) for m in model(torch.randn(1, 3, 64, 64))] == [(1, 64, 8, 8), (1, 128, 2, 2)]


def test_intermediates_are_what_the_classifier_sees():
    model = tiny().eval()
    x = torch.randn(2, 3, 64, 64)
    final, maps = model.forward_intermediates(x)
    assert torch.equal(final, maps[-1])
    assert torch.equal(final, model.forward_features(x))
    assert torch.equal(model.forward_head(final), model(x))
    assert [m.shape[1] for m in model.forward_intermediates(x, indices=2, intermediates_only=True)] == [8, 8]


def test_the_classifier_can_be_replaced():
    model = tiny()
    model.reset_classifier(3)
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 3)
    model.reset_classifier(0, "")
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 8, 2, 2)


def test_checkpointing_gives_the_same_gradients():
    gradients = []
    for enabled in (False, True):
        model = tiny()
        model.set_grad_checkpointing(enabled)
        model(torch.ones(1, 3, 64, 64)).sum().backward()
        gradients.append(model.patch_embed.proj[0].weight.grad)
    assert torch.allclose(*gradients)


def test_it_compiles_as_one_graph():
    model = tiny().eval()
    x = torch.randn(1, 3, 64, 64)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert torch.allclose(compiled(x), model(x), atol=1e-6)


def test_it_exports():
    model = tiny().eval()
    x = torch.randn(1, 3, 64, 64)
    assert torch.allclose(torch.export.export(model, (x,)).module()(x), model(x), atol=1e-6)


def test_layers_of_the_number_of_clusters_are_known_for_every_kind():
    assert tiny().cluster_outputs() == [f"stage{i}.0.attn.clustering.clustering.4" for i in (1, 2, 3)]
    assert tiny(clustering="mlp").cluster_outputs()[0] == "stage1.0.attn.clustering.clustering.2"
    assert tiny(clustering="linear").cluster_outputs()[0] == "stage1.0.attn.clustering.clustering.0"
    taught = tiny(teacher_depths=(1, 1, 1, 1)).cluster_outputs()
    assert taught == [f"paca_teacher.to_clusters{i}" for i in (1, 2, 3)]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"clustering": "kmeans"}, "expected 'conv', 'mlp' or 'linear'"),
        ({"clustering_mode": "all"}, "expected 'stage' or 'block'"),
        ({"num_heads": (3, 2, 2, 2)}, "3 heads do not divide 8 channels"),
        ({"depths": (1, 1)}, "one value a stage"),
        ({"global_pool": "max"}, "expected 'avg' or ''"),
    ],
)
def test_a_wrong_keyword_is_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        tiny(**kwargs)


def test_an_unknown_variant_is_told_with_the_nearest_one():
    with pytest.raises(PacavitError, match="did you mean 'pacavit_tiny_p2cconv_100_0'"):
        variant_config("pacavit_tiny_p2cconv_100_1")


def test_published_checkpoints_are_unwrapped():
    weights = {"head.weight": torch.zeros(1)}
    wrapped = {"state_dict": {f"module.{key}": value for key, value in weights.items()}, "epoch": 3}
    assert paca_vit.checkpoint_filter_fn(wrapped).keys() == weights.keys()
    detector = {"state_dict": {"backbone.norm1.weight": torch.zeros(1), "neck.weight": torch.zeros(1)}}
    assert list(paca_vit.checkpoint_filter_fn(detector)) == ["norm1.weight"]
