"""Multiply-adds of layers whose count one can do by hand."""

import pytest
import torch
from torch import nn

from pacavit.claims.operations import authors_total, correct_total, count_operations
from pacavit.models.paca_vit import PatchToClusterAttention, create_clustering


def counted(module: nn.Module, *shapes: tuple[int, ...]) -> dict[str, int]:
    module = module.eval().to("meta")
    inputs = [torch.empty(shape, device="meta") for shape in shapes]
    counts = count_operations(module, lambda: module(*inputs))
    return {kind: count for kind, count in counts.items() if count}


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (nn.Linear(3, 5), (7, 3), {"linear": 7 * 3 * 5}),
        (nn.Conv2d(4, 6, 3, padding=1), (1, 4, 8, 8), {"convolution": 64 * 4 * 6 * 9}),
        (nn.Conv2d(4, 4, 7, padding=3, groups=4), (1, 4, 8, 8), {"convolution": 64 * 4 * 49}),
        (nn.Conv2d(4, 4, 7, padding="same", groups=4), (1, 4, 8, 8), {"same_convolution": 64 * 4 * 49}),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (1, 4, 8, 8), {"deconvolution": 64 * 4 * 6 * 4}),
        (nn.LayerNorm(10), (2, 10), {"norm": 5 * 20}),
        (nn.BatchNorm2d(3), (1, 3, 4, 4), {"norm": 2 * 48}),
        (nn.Upsample(scale_factor=2, mode="bilinear"), (1, 1, 4, 4), {"resize": 4 * 64}),
        (nn.AdaptiveAvgPool2d(2), (1, 3, 8, 8), {"pool": 3 * 64}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_a_layer(module, shape, expected):
    assert counted(module, shape) == expected


def test_products_inside_torchs_attention_layer_are_counted():
    """Its fused kernel would show none of them."""
    n, dim = 16, 8
    layer = nn.MultiheadAttention(dim, num_heads=2, batch_first=True)
    counts = counted(layer, (1, n, dim), (1, n, dim), (1, n, dim))
    assert counts["attention"] == 2 * n * n * dim
    assert counts["linear"] == 4 * n * dim * dim


@pytest.mark.parametrize("clusters", [0, 12])
def test_patch_to_cluster_attention(clusters):
    n, dim = 64, 16
    clustering = create_clustering("linear", dim, clusters) if clusters else None
    layer = PatchToClusterAttention(dim, 2, clusters, clustering).eval().to("meta")
    tokens = torch.empty(1, n, dim, device="meta")
    counts = count_operations(layer, lambda: layer(tokens, (8, 8)))
    keys = clusters or n
    forming_clusters = clusters * n * dim
    assert counts["attention"] == forming_clusters + 2 * n * keys * dim
    # Queries and output of the patches, keys and values of the clusters, and the cluster logits.
    assert counts["linear"] == 2 * n * dim**2 + 2 * keys * dim**2 + n * dim * clusters


def test_the_authors_count_a_deconvolution_four_times_and_same_padding_not_at_all():
    model = nn.Sequential(nn.Conv2d(4, 4, 3, padding="same"), nn.ConvTranspose2d(4, 4, 2, stride=2)).to(
        "meta"
    )
    counts = count_operations(model, lambda: model(torch.empty(1, 4, 8, 8, device="meta")))
    same, deconvolution = 64 * 16 * 9, 64 * 16 * 4
    assert correct_total(counts) == same + deconvolution
    assert authors_total(counts) == 4 * deconvolution


def test_an_operation_of_no_known_kind_is_an_error():
    """A fused kernel is one, off the meta device where it is opened."""
    heads = torch.empty(1, 2, 16, 8, device="meta")
    kernel = torch.ops.aten._scaled_dot_product_efficient_attention
    with pytest.raises(NotImplementedError, match="efficient_attention has .* of no known kind"):
        count_operations(nn.Identity(), lambda: kernel(heads, heads, heads, None, False))
