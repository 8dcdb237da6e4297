"""How patch-to-cluster attention works, as facts that hold for one module.

Shapes: B images of N = H × W patches, C channels, M clusters. Attention costs O(N M) instead of O(N²).
"""

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.kinds import CLUSTERINGS, attention
from pacavit.models.paca_vit import PatchToClusterAttention, to_map, to_tokens

SIZE = (3, 5)
ALL = (*CLUSTERINGS, "plain")


def patches(batch: int = 2, size: tuple[int, int] = SIZE, dim: int = 8) -> Tensor:
    return torch.randn(batch, size[0] * size[1], dim, generator=torch.Generator().manual_seed(1))


def relative_error(found: Tensor, expected: Tensor) -> float:
    return ((found.double() - expected.double()).norm() / expected.double().norm()).item()


def multiply_adds(module: PatchToClusterAttention, size: tuple[int, int]) -> int:
    """Count on the meta device, which computes nothing; unfused, so that attention's own products are seen."""
    module = module.to("meta")
    x = torch.empty(1, size[0] * size[1], module.q.in_features, device="meta")
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        module(x, size)
    return counter.get_total_flops() // 2


# What a cluster is


@pytest.mark.parametrize("kind", CLUSTERINGS)
def test_each_cluster_is_a_convex_combination_of_the_patches(kind):
    assignment = attention(kind).assign(patches(), SIZE)
    assert assignment.shape == (2, 5, 15)
    assert (assignment >= 0).all()
    torch.testing.assert_close(assignment.sum(dim=2), torch.ones(2, 5))


def test_equal_logits_make_every_cluster_the_mean_of_the_patches():
    module = attention("linear")
    torch.nn.init.zeros_(module.clustering.clustering[0].weight)
    torch.testing.assert_close(module.assign(patches(), SIZE), torch.full((2, 5, 15), 1 / 15))


def test_equal_patches_stay_equal():
    module = attention("linear")
    x = patches()[:, :1].expand(-1, 15, -1)
    out, _ = module(x, SIZE)
    torch.testing.assert_close(out, out[:, :1].expand_as(out))


# What attention does with them


@pytest.mark.parametrize("kind", CLUSTERINGS)
def test_it_is_the_papers_formula(kind):
    module, x = attention(kind), patches()
    out, z = module(x, SIZE)
    clusters = module.cluster_norm(torch.einsum("bmn,bnc->bmc", z, x))
    q = module.q(x).reshape(2, 15, 2, 4)
    k, v = (layer(clusters).reshape(2, 5, 2, 4) for layer in (module.k, module.v))
    weights = (torch.einsum("bnhd,bmhd->bhnm", q, k) / 4**0.5).softmax(dim=-1)
    expected = module.proj(torch.einsum("bhnm,bmhd->bnhd", weights, v).reshape(2, 15, 8))
    torch.testing.assert_close(out, expected)


def test_without_clusters_patches_attend_to_patches():
    module, x = attention("plain"), patches()
    weight = torch.cat([module.q.weight, module.k.weight, module.v.weight])
    bias = torch.cat([module.q.bias, module.k.bias, module.v.bias])
    t = x.transpose(0, 1)
    plain, _ = F.multi_head_attention_forward(
        t, t, t, 8, 2, weight, bias, None, None, False, 0.0, module.proj.weight, module.proj.bias
    )
    out, assignment = module(x, SIZE)
    torch.testing.assert_close(out, plain.transpose(0, 1))
    assert assignment is None


def test_an_assignment_can_be_handed_in():
    own, x = attention("linear"), patches()
    expected, assignment = own(x, SIZE)
    handed = PatchToClusterAttention(8, num_heads=2, num_clusters=5)
    handed.load_state_dict(own.state_dict(), strict=False)
    out, same = handed(x, SIZE, assignment)
    assert torch.equal(out, expected)
    assert same is assignment
    with pytest.raises(ValueError, match="hand in the assignment"):
        handed(x, SIZE)


@pytest.mark.parametrize("kind", ["mlp", "linear", "plain"])
def test_without_convolution_the_order_of_the_patches_does_not_matter(kind):
    module, x = attention(kind), patches()
    order = torch.randperm(15, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(module(x[:, order], SIZE)[0], module(x, SIZE)[0][:, order])


def test_convolution_sees_where_the_patches_are():
    module, x = attention("conv"), patches()
    assert not torch.allclose(module.assign(x, SIZE).flip(2), module.assign(x.flip(1), SIZE))


# What it costs


@pytest.mark.parametrize("kind", CLUSTERINGS)
def test_cost_is_linear_in_the_number_of_patches(kind):
    module = attention(kind)
    once, twice, four_times = (multiply_adds(module, (8, width)) for width in (8, 16, 32))
    # Keys and values of the clusters cost the same whatever N, hence differences.
    assert four_times - twice == 2 * (twice - once)


def test_cost_without_clusters_is_quadratic():
    n, dim = 64, 8
    # Four projections, then queries times keys and weights times values.
    assert multiply_adds(attention("plain"), (8, 8)) == 4 * n * dim**2 + 2 * n**2 * dim


def test_cost_is_that_of_the_papers_terms():
    n, m, dim = 64, 5, 8
    assign_and_gather = n * dim * m + m * n * dim
    project = 2 * n * dim**2 + 2 * m * dim**2
    attend = 2 * n * m * dim
    assert multiply_adds(attention("linear"), (8, 8)) == assign_and_gather + project + attend


# What it is robust to


@pytest.mark.parametrize("kind", ALL)
def test_gradients_equal_finite_differences(kind):
    module = attention(kind, num_clusters=3, dim=4, kernel_size=3).double()
    names, values = zip(*module.named_parameters(), strict=True)
    x = patches(1, (2, 3), dim=4).double().requires_grad_()

    def run(x, *values):
        return functional_call(module, dict(zip(names, values, strict=True)), (x, (2, 3)))[0]

    assert torch.autograd.gradcheck(run, (x, *values))


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3)])
def test_any_grid(kind, size):
    out, assignment = attention(kind)(patches(1, size), size)
    assert out.shape == (1, size[0] * size[1], 8)
    assert torch.isfinite(out).all()
    assert kind == "plain" or assignment.shape == (1, 5, size[0] * size[1])


@pytest.mark.parametrize("kind", ALL)
def test_images_of_a_batch_do_not_see_each_other(kind):
    module, x = attention(kind), patches(3)
    alone = torch.cat([module(image, SIZE)[0] for image in x.split(1)])
    torch.testing.assert_close(module(x, SIZE)[0], alone)


@pytest.mark.parametrize("kind", ALL)
def test_the_same_input_gives_the_same_bits(kind):
    module, x = attention(kind), patches()
    assert torch.equal(module(x, SIZE)[0], module(x, SIZE)[0])


@pytest.mark.parametrize("rate", [{"attn_drop": 0.5}, {"proj_drop": 0.5}], ids=lambda rate: next(iter(rate)))
def test_dropout_acts_in_training_alone_and_follows_the_seed(rate):
    module, x = attention("linear", **rate), patches()
    torch.manual_seed(3)
    dropped = module(x, SIZE)[0]
    torch.manual_seed(3)
    assert torch.equal(module(x, SIZE)[0], dropped)
    torch.testing.assert_close(module.eval()(x, SIZE)[0], attention("linear")(x, SIZE)[0])
    assert not torch.allclose(dropped, module(x, SIZE)[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ALL)
def test_half_precision_loses_no_more_than_its_roundings(kind, dtype):
    module, x = attention(kind), patches()
    expected, _ = module(x, SIZE)
    out, assignment = module.to(dtype)(x.to(dtype), SIZE)
    assert out.dtype == dtype
    eps = torch.finfo(dtype).eps
    assert relative_error(out, expected) < 4 * eps
    if assignment is not None:
        assert (assignment.float().sum(dim=2) - 1).abs().max() <= eps


@pytest.mark.parametrize("kind", ALL)
def test_mixed_precision_loses_no_more_than_its_roundings(kind):
    module, x = attention(kind), patches()
    expected, _ = module(x, SIZE)
    with torch.autocast("cpu", torch.bfloat16):
        out, assignment = module(x, SIZE)
    assert out.dtype == torch.bfloat16
    eps = torch.finfo(torch.bfloat16).eps
    assert relative_error(out, expected) < 4 * eps
    if assignment is not None:
        assert (assignment.float().sum(dim=2) - 1).abs().max() <= eps


def test_tokens_and_their_map_share_memory():
    x = patches()
    maps = to_map(x, SIZE)
    assert maps.shape == (2, 8, *SIZE)
    assert maps.is_contiguous(memory_format=torch.channels_last)
    assert maps.data_ptr() == to_tokens(maps).data_ptr() == x.data_ptr()
    assert torch.equal(maps[0, :, 1, 2], x[0, 1 * SIZE[1] + 2])
    assert torch.equal(to_tokens(maps.contiguous()), x)


@pytest.mark.parametrize("batch", [1, 2])
def test_the_map_of_a_layers_tokens_is_channels_last_for_one_image_too(batch):
    """A linear layer gives a single image's tokens another batch stride, by which torch would take another order."""
    tokens = torch.nn.Linear(8, 8)(torch.rand(batch, 12, 8))
    convolved = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)(to_map(tokens, (4, 3)))
    assert convolved.is_contiguous(memory_format=torch.channels_last)
    assert not convolved.is_contiguous()
    assert to_tokens(convolved).data_ptr() == convolved.data_ptr()
