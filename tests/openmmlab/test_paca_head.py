"""The PaCa segmentation head against outputs of the published one, and its losses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch.nn import functional as F

from golden.fill import feature_maps, fill_state_dict
from pacavit.openmmlab.paca_head import PaCaHead

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


def create_head(channels=(8, 12, 16, 20), num_classes=5, width=8, **kwargs):
    return PaCaHead(
        in_channels=list(channels),
        in_index=[0, 1, 2, 3],
        channels=width,
        num_classes=num_classes,
        dropout_ratio=0.1,
        norm_cfg={"type": "BN"},
        align_corners=False,
        loss_decode={"type": "CrossEntropyLoss", "avg_non_ignore": True},
        **kwargs,
    )


@pytest.fixture
def golden():
    return np.load(GOLDEN / "pacaseghead_small.npz")


def test_keys_and_shapes_are_the_published_ones(golden):
    head = create_head(golden["channels"].tolist(), 150, 256)
    published = json.loads((GOLDEN / "pacaseghead_small_shapes.json").read_text())
    assert {key: list(value.shape) for key, value in head.state_dict().items()} == published


def test_outputs_are_those_of_the_published_head(golden):
    head = create_head(golden["channels"].tolist(), 150, 256).eval()
    head.load_state_dict(fill_state_dict(head.state_dict()))
    maps = feature_maps(int(golden["seed"]), golden["channels"].tolist(), *golden["base_size"].tolist())
    with torch.no_grad():
        logits, cluster_logits = head.forward_with_clusters(maps)
    # Every fourth pixel in both directions was kept.
    np.testing.assert_allclose(logits[:, :, ::4, ::4], golden["logits"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(cluster_logits[:, :, ::4, ::4], golden["cluster_logits"], atol=1e-5, rtol=0)
    assert torch.equal(head(maps), logits)


def test_losses_leave_out_unlabelled_pixels_and_weigh_the_clusters():
    torch.manual_seed(0)
    head = create_head(cluster_loss_weight=0.4)
    head.dropout = None  # both passes below must agree
    maps = [m.repeat(2, 1, 1, 1) for m in feature_maps(3, [8, 12, 16, 20], 8, 8)]
    labels = torch.randint(0, 5, (2, 32, 32))
    labels[:, :, 20:] = 255
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in labels]
    losses = head.loss(maps, samples, {})
    for name, logits, weight in zip(
        ("loss_ce", "loss_clusters"), head.forward_with_clusters(maps), (1.0, 0.4), strict=True
    ):
        resized = F.interpolate(logits, size=(32, 32), mode="bilinear", align_corners=False)
        expected = weight * F.cross_entropy(resized, labels, ignore_index=255)
        torch.testing.assert_close(losses[name], expected)


def test_every_parameter_gets_a_gradient_even_with_uneven_maps():
    head = create_head()
    sizes = [(9, 7), (5, 4), (3, 2), (2, 1)]
    maps = [torch.randn(2, c, *size) for c, size in zip((8, 12, 16, 20), sizes, strict=True)]
    samples = [SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 5, (1, 35, 27)))) for _ in range(2)]
    losses = head.loss(maps, samples, {})
    sum(value for name, value in losses.items() if name.startswith("loss")).backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())
    # Biases before a batch norm have none but rounding.
    assert all(p.grad.abs().sum() > 0 for name, p in head.named_parameters() if "bias" not in name)


def test_equal_clusters_attract_all_pixels_alike():
    """Pixels that attend to clusters which are all the same get the same output wherever they are."""
    head = create_head(num_classes=3).eval()
    torch.nn.init.zeros_(head.clustering[1].weight)
    with torch.no_grad():
        logits = head([torch.randn(1, c, 8 >> i, 8 >> i) for i, c in enumerate((8, 12, 16, 20))])
    torch.testing.assert_close(logits, logits[:, :, :1, :1].expand_as(logits))
