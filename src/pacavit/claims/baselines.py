"""The backbones that the paper compares with: from timm for classification, from mmdetection under a dense head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import timm
from mmengine.registry import MODELS
from torch import Tensor, nn

from pacavit.errors import PacavitError
from pacavit.openmmlab.models import Config, scoped


@dataclass(frozen=True)
class Baseline:
    """A backbone by its names in two libraries.

    Attributes:
        timm: registered name of the classifier; None where timm has none.
        backbone: mmdetection's configuration of the backbone.
        dims: channels of its four stages.
    """

    timm: str | None
    backbone: Config
    dims: tuple[int, int, int, int]


def _swin(name: str, dim: int, depths: list[int], heads: list[int]) -> Baseline:
    backbone = {"type": "mmdet.SwinTransformer", "embed_dims": dim, "depths": depths, "num_heads": heads}
    return Baseline(f"swin_{name}_patch4_window7_224", backbone, (dim, 2 * dim, 4 * dim, 8 * dim))


def _pvt(depths: list[int]) -> Baseline:
    backbone = {"type": "mmdet.PyramidVisionTransformer", "num_layers": depths}
    return Baseline(None, backbone, (64, 128, 320, 512))


def _pvt_v2(name: str, depths: list[int], dim: int = 64, **options: Any) -> Baseline:
    backbone = {
        "type": "mmdet.PyramidVisionTransformerV2",
        "embed_dims": dim,
        "num_layers": depths,
        **options,
    }
    return Baseline(f"pvt_v2_{name}", backbone, (dim, 2 * dim, 5 * dim, 8 * dim))


BASELINES = {
    "swin_tiny": _swin("tiny", 96, [2, 2, 6, 2], [3, 6, 12, 24]),
    "swin_small": _swin("small", 96, [2, 2, 18, 2], [3, 6, 12, 24]),
    "swin_base": _swin("base", 128, [2, 2, 18, 2], [4, 8, 16, 32]),
    "pvt_tiny": _pvt([2, 2, 2, 2]),
    "pvt_small": _pvt([3, 4, 6, 3]),
    "pvt_medium": _pvt([3, 4, 18, 3]),
    "pvt_large": _pvt([3, 8, 27, 3]),
    "pvt_v2_b0": _pvt_v2("b0", [2, 2, 2, 2], dim=32),
    "pvt_v2_b1": _pvt_v2("b1", [2, 2, 2, 2]),
    "pvt_v2_b2": _pvt_v2("b2", [3, 4, 6, 3]),
    "pvt_v2_b2_linear": Baseline("pvt_v2_b2_li", {}, (64, 128, 320, 512)),
    "pvt_v2_b3": _pvt_v2("b3", [3, 4, 18, 3]),
    "pvt_v2_b4": _pvt_v2("b4", [3, 8, 27, 3]),
    "pvt_v2_b5": _pvt_v2("b5", [3, 6, 40, 3], mlp_ratios=(4, 4, 4, 4)),
}


class _PooledClassifier(nn.Module):
    """A linear classifier over the mean of the last map.

    The published PVT v1 has a class token instead: 1,024 parameters and a fiftieth of the last stage's tokens more.
    """

    def __init__(self, backbone: nn.Module, dim: int, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(dim, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images)[-1].mean(dim=(2, 3)))


def classifier(name: str, num_classes: int = 1000) -> nn.Module:
    """Return a baseline as a classifier of images (B, 3, H, W).

    Raises:
        PacavitError: no such baseline.
    """
    baseline = _baseline(name)
    if baseline.timm is not None:
        return timm.create_model(baseline.timm, num_classes=num_classes)
    with scoped("mmdet"):
        backbone = MODELS.build(baseline.backbone)
    return _PooledClassifier(backbone, baseline.dims[-1], num_classes)


def encoder(name: str) -> tuple[Config, tuple[int, int, int, int]]:
    """Return a baseline's backbone as configuration, and the channels of its stages.

    Raises:
        PacavitError: no such baseline, or mmdetection has none of the kind.
    """
    baseline = _baseline(name)
    if not baseline.backbone:
        raise PacavitError(
            f"baseline {name!r}: mmdetection has no such backbone; count it as a classifier only"
        )
    return baseline.backbone, baseline.dims


def _baseline(name: str) -> Baseline:
    if name not in BASELINES:
        raise PacavitError(f"baseline {name!r}: unknown; choose one of {', '.join(BASELINES)}")
    return BASELINES[name]
