"""The PaCa segmentation head against outputs of the published one, and its losses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import MODELS
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch.nn import functional as F

from golden.fill import feature_maps, fill_state_dict
from pacavit.errors import PacavitError
from pacavit.openmmlab.paca_head import PaCaHead

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


def create_head(channels=(8, 12, 16, 20), num_classes=5, width=8, **kwargs):
    options = {
        "in_index": [0, 1, 2, 3],
        "dropout_ratio": 0.1,
        "norm_cfg": {"type": "BN"},
        "align_corners": False,
        "loss_decode": {"type": "CrossEntropyLoss", "avg_non_ignore": True},
    }
    return PaCaHead(list(channels), channels=width, num_classes=num_classes, **{**options, **kwargs})


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


CROSS_ENTROPY = {"type": "CrossEntropyLoss"}
DICE = {"type": "DiceLoss", "loss_name": "loss_dice", "loss_weight": 3.0}
LOVASZ = {"type": "LovaszLoss", "reduction": "none", "loss_name": "loss_lovasz"}
LOSSES = {
    "Dice": DICE,
    "Lovasz": LOVASZ,
    "named": {**CROSS_ENTROPY, "loss_name": "loss_of_mine"},
    "sigmoid": {**CROSS_ENTROPY, "use_sigmoid": True},
    "two": [{**CROSS_ENTROPY, "loss_name": "loss_ce"}, DICE],
    "two of one name": [CROSS_ENTROPY, LOVASZ | {"loss_name": "loss_ce"}],
    "one shown alone": [CROSS_ENTROPY, DICE | {"loss_name": "dice"}],
}


def small_batch(classes=5):
    generator = torch.Generator().manual_seed(0)
    maps = [m.repeat(2, 1, 1, 1) for m in feature_maps(3, [8, 12, 16, 20], 8, 8)]
    labels = torch.randint(0, classes, (2, 1, 32, 32), generator=generator)
    labels[..., 28:] = 255
    return maps, [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]


@pytest.mark.parametrize("kind", LOSSES)
def test_any_loss_is_taken_for_the_clusters_too(kind):
    """The losses of the clusters are what the same losses give for the cluster logits."""
    torch.manual_seed(0)
    head = create_head(loss_decode=LOSSES[kind], dropout_ratio=0.0)
    maps, samples = small_batch()
    losses = head.loss(maps, samples, {})
    logits, cluster_logits = head.forward_with_clusters(maps)
    expected = head.loss_by_feat(logits, samples)
    assert losses.keys() == {*expected, "loss_clusters"}
    on_clusters = head.loss_by_feat(cluster_logits, samples)
    total = sum(value for name, value in on_clusters.items() if "loss" in name)
    torch.testing.assert_close(losses["loss_clusters"], 0.4 * total)
    parsed, _ = BaseModel.parse_losses(None, losses)
    parsed.backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())


def test_a_loss_that_no_name_makes_one_is_not_added():
    head = create_head(loss_decode={**CROSS_ENTROPY, "loss_name": "entropy"})
    assert set(head.loss(*small_batch(), {})) == {"entropy", "acc_seg"}


def test_the_name_of_the_losses_of_the_clusters_is_taken():
    with pytest.raises(PacavitError, match="the losses of the clusters are called loss_clusters"):
        create_head(loss_decode={**CROSS_ENTROPY, "loss_name": "loss_clusters"})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm_cfg": {"type": "GN", "num_groups": 2}},
        {"norm_cfg": {"type": "SyncBN", "requires_grad": True}},
        {"norm_cfg": None, "act_cfg": None},
        {"act_cfg": {"type": "GELU"}, "norm_cfg": {"type": "BN"}},
        {"num_classes": 2, "out_channels": 1, "loss_decode": {**CROSS_ENTROPY, "use_sigmoid": True}},
    ],
)
@pytest.mark.filterwarnings("ignore:threshold is not defined")
def test_defaults_of_mmsegmentation_are_taken(options):
    """Nothing but the sizes has to be said."""
    head = MODELS.build(
        {"type": "PaCaHead", "in_channels": [8, 12, 16, 20], "channels": 8, "num_classes": 5, **options}
    )
    if "SyncBN" in str(options):
        head = revert_sync_batchnorm(head)
    maps, samples = small_batch(head.num_classes)
    loss, _ = BaseModel.parse_losses(None, head.loss(maps, samples, {}))
    loss.backward()
    assert all(p.grad is not None for p in head.parameters())
    assert head(maps).shape == (2, head.out_channels, 8, 8)


def test_three_maps_are_enough():
    head = PaCaHead([12, 16, 20], in_index=[1, 2, 3], channels=8, num_classes=5)
    assert head(small_batch()[0]).shape == (2, 5, 4, 4)


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


def test_an_input_transform_that_joins_maps_itself_is_refused():
    with pytest.raises(PacavitError, match="input_transform: 'resize_concat'; expected 'multiple_select'"):
        create_head(input_transform="resize_concat")
