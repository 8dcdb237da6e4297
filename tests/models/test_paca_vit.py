"""How the four-stage backbone works, as facts that hold for models of every kind."""

import math

import pytest
import torch
from torch import nn

from models.kinds import KINDS, tiny
from pacavit.errors import PacavitError
from pacavit.models import paca_vit, variant_config


def images(batch: int = 2, height: int = 64, width: int = 64) -> torch.Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=KINDS)
def model(request):
    """A tiny model of each kind, for inference."""
    return tiny(**KINDS[request.param]).eval()


# Who clusters


def test_stage_wise_the_first_block_clusters_and_the_others_reuse_it():
    model = tiny()
    assert [block.attn.clustering is not None for block in model.stage1] == [True, False]
    seen = []
    for block in model.stage1:
        block.attn.register_forward_hook(lambda module, args, output: seen.append(output[1]))
    model(images())
    assert seen[0] is seen[1]


def test_block_wise_every_block_clusters():
    model = tiny(clustering_mode="block")
    assert [block.attn.clustering is not None for block in model.stage1] == [True, True]
    seen = []
    for block in model.stage1:
        block.attn.register_forward_hook(lambda module, args, output: seen.append(output[1]))
    assignments = model.eval().assignments(images())
    assert not torch.allclose(seen[0], seen[1])
    assert torch.equal(assignments[0].flatten(2), seen[0])


@torch.inference_mode()
def test_assignments_are_distributions_over_the_patches(model):
    for clusters, assignment, side in zip(
        model.num_clusters, model.assignments(images()), (16, 8, 4, 2), strict=True
    ):
        assert (assignment is None) == (clusters == 0)
        if assignment is not None:
            assert assignment.shape == (2, clusters, side, side)
            torch.testing.assert_close(assignment.sum(dim=(2, 3)), torch.ones(2, clusters))


# What goes in


def test_odd_grids_round_up():
    maps = tiny().forward_intermediates(images(1, 100, 132), intermediates_only=True)
    assert [tuple(m.shape[2:]) for m in maps] == [(25, 33), (13, 17), (7, 9), (4, 5)]


@torch.inference_mode()
@pytest.mark.parametrize(("height", "width"), [(33, 65), (32, 32), (7, 250)])
def test_any_size_of_a_single_image(model, height, width):
    logits = model(images(1, height, width))
    assert logits.shape == (1, 5)
    assert torch.isfinite(logits).all()


@torch.inference_mode()
def test_images_of_a_batch_do_not_see_each_other(model):
    x = images(3)
    torch.testing.assert_close(model(x), torch.cat([model(image) for image in x.split(1)]))


@torch.inference_mode()
def test_memory_order_does_not_matter(model):
    x = images()
    torch.testing.assert_close(model(x.contiguous(memory_format=torch.channels_last)), model(x))
    maps = model.forward_intermediates(x, intermediates_only=True)
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)


@torch.inference_mode()
def test_the_same_images_give_the_same_bits(model):
    assert torch.equal(model(images()), model(images()))


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(model, dtype):
    x = images()
    expected = model(x)
    with torch.autocast("cpu", dtype):
        mixed = model(x)
    half = model.to(dtype)(x.to(dtype))
    assert half.dtype == mixed.dtype == dtype
    for found in (half, mixed):
        # Roundings of the thirty-odd layers in sequence, were each of them to go the same way.
        assert (found.float() - expected).norm() < 32 * torch.finfo(dtype).eps * expected.norm()


# How it trains


def test_every_parameter_learns(model):
    model.train()(images()).sum().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_determines_the_weights(kind):
    first, second = (tiny(**KINDS[kind]).state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_initial_weights():
    model = tiny(embed_dims=(64, 64, 64, 64), teacher_depths=(1, 1, 1, 1), num_clusters=(64, 64, 64, 64))
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            std = 0.02
        elif isinstance(module, nn.Conv2d):
            std = math.sqrt(2 / (math.prod(module.kernel_size) * module.out_channels / module.groups))
        else:
            if isinstance(module, (nn.LayerNorm, nn.BatchNorm2d)):
                assert (module.weight == 1).all(), name
                assert (module.bias == 0).all(), name
            continue
        assert module.bias is None or (module.bias == 0).all(), name
        # The deviation of n samples is known to one part in sqrt(2 n).
        sigmas = (module.weight.std() / std - 1).abs() * math.sqrt(2 * module.weight.numel())
        assert sigmas < 5, f"{name}: {module.weight.std():.4f} instead of {std:.4f}"


def test_drop_path_acts_in_training_alone():
    dropped, kept = tiny(drop_path_rate=0.9), tiny()
    x = images(8)
    torch.testing.assert_close(dropped.eval()(x), kept.eval()(x))
    assert not torch.allclose(dropped.train()(x), kept.train()(x))


def test_drop_path_grows_linearly_over_all_blocks():
    model = tiny(drop_path_rate=0.5)
    rates = [
        getattr(block.drop_path1, "drop_prob", 0.0)
        for i in range(1, 5)
        for block in model.get_submodule(f"stage{i}")
    ]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])


# What callers may ask for


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
