"""Regions of interest under mixed precision."""

from __future__ import annotations

from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmengine.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class FullPrecisionRoIExtractor(SingleRoIExtractor):
    """mmdetection's extractor on maps in single precision.

    It casts the regions to the type of the maps, and bf16 holds a coordinate of 1000 pixels to 4 pixels only.
    """

    def forward(
        self, feats: tuple[Tensor, ...], rois: Tensor, roi_scale_factor: float | None = None
    ) -> Tensor:
        """Return features (n, C, s, s) of regions (n, 5: image, x1, y1, x2, y2) from the maps of all levels."""
        return super().forward(tuple(x.float() for x in feats), rois, roi_scale_factor)
