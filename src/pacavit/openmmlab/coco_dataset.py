"""COCO's annotations in mmdetection, with classes in the order of their ids."""

from __future__ import annotations

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmengine.registry import DATASETS


class _Ordered(COCO):
    """mmdetection's reader of annotations, which gives category ids in ascending order."""

    def get_cat_ids(self, *args, **options) -> list[int]:
        return sorted(super().get_cat_ids(*args, **options))


@DATASETS.register_module()
class OrderedCocoDataset(CocoDataset):
    """mmdetection's dataset, whose classes would be in the order in which each annotation file lists them."""

    COCOAPI = _Ordered
