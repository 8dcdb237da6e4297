"""Prepared data sets as mmdetection and mmsegmentation read them."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader, Dataset

from pacavit.data.coco import SPLITS as COCO_SPLITS
from pacavit.data.coco import annotation_file
from pacavit.data.manifest import read_manifest
from pacavit.openmmlab.models import scoped
from pacavit.params.ade20k import Ade20kRecipe
from pacavit.params.coco import CocoRecipe
from pacavit.runtime.distributed import rank, world_size
from pacavit.runtime.interruption import follow_the_training

Config = dict[str, Any]


def detection(folder: Path, split: str, pipeline: list[Config]) -> Dataset:
    """Return a COCO split; in training, images without objects are left out, as mmdetection does by default."""
    train = split == "train"
    config = {
        "type": "CocoDataset",
        "ann_file": str(annotation_file(folder, split).resolve()),
        "data_prefix": {"img": str((Path(folder) / COCO_SPLITS[split]).resolve()) + "/"},
        "metainfo": {"classes": tuple(read_manifest(folder)["classes"])},
        "filter_cfg": {"filter_empty_gt": True, "min_size": 32} if train else None,
        "test_mode": not train,
        "pipeline": pipeline,
    }
    # pycocotools prints as it reads.
    with scoped("mmdet"), contextlib.redirect_stdout(io.StringIO()):
        return DATASETS.build(config)


def segmentation(folder: Path, split: str, pipeline: list[Config]) -> Dataset:
    """Return an ADE20K split whose classes count from 0; label 0 is ignored, unless it is the background class."""
    manifest = read_manifest(folder)
    name = {"train": "training", "val": "validation"}[split]
    config = {
        "type": "BaseSegDataset",
        "data_root": str(Path(folder).resolve()),
        "data_prefix": {"img_path": f"images/{name}", "seg_map_path": f"annotations/{name}"},
        "metainfo": {"classes": tuple(manifest["classes"])},
        "img_suffix": ".jpg",
        "seg_map_suffix": ".png",
        "reduce_zero_label": manifest.get("first_class", 1) == 1,
        "test_mode": split != "train",
        "pipeline": pipeline,
    }
    with scoped("mmseg"):
        return DATASETS.build(config)


def validation_loader(dataset: Dataset, batch_size: int, workers: int) -> DataLoader:
    """Return this process's share of the images, every ``world_size``-th in order."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=range(rank(), len(dataset), world_size()),
        num_workers=workers,
        collate_fn=pseudo_collate,
        worker_init_fn=follow_the_training,
    )


def detection_training(recipe: CocoRecipe) -> list[Config]:
    """Return the training pipeline: flip, then by equal odds a resize, or a resize, a crop and the same resize."""
    resize = _random_side(recipe.sides, recipe.max_side)
    choice = [resize]
    if recipe.crop is not None:
        crop = {
            "type": "RandomCrop",
            "crop_type": "absolute_range",
            "crop_size": tuple(recipe.crop.size),
            "allow_negative_crop": True,
        }
        cropped = [_random_side(recipe.crop.sides, recipe.max_side), crop, resize]
        choice = [{"type": "RandomChoice", "transforms": [[resize], cropped]}]
    return [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations", "with_bbox": True, "with_mask": True},
        {"type": "RandomFlip", "prob": recipe.hflip},
        *choice,
        {"type": "PackDetInputs"},
    ]


def detection_testing(recipe: CocoRecipe) -> list[Config]:
    """Return the evaluation pipeline: one scale, no flip."""
    return [
        {"type": "LoadImageFromFile"},
        {"type": "Resize", "scale": (recipe.max_side, recipe.test_side), "keep_ratio": True},
        {
            "type": "PackDetInputs",
            "meta_keys": ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
        },
    ]


def segmentation_training(recipe: Ade20kRecipe) -> list[Config]:
    """Return the training pipeline: random resize, crop, flip and photometric distortion."""
    return [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations"},
        {
            "type": "RandomResize",
            "scale": tuple(recipe.scale),
            "ratio_range": tuple(recipe.resize_ratio),
            "keep_ratio": True,
        },
        {
            "type": "RandomCrop",
            "crop_size": (recipe.crop, recipe.crop),
            "cat_max_ratio": recipe.cat_max_ratio,
        },
        {"type": "RandomFlip", "prob": recipe.hflip},
        *([{"type": "PhotoMetricDistortion"}] if recipe.photometric else []),
        {"type": "PackSegInputs"},
    ]


def segmentation_testing(recipe: Ade20kRecipe) -> list[Config]:
    """Return the evaluation pipeline: the whole image at one scale, labels at their own size."""
    return [
        {"type": "LoadImageFromFile"},
        {"type": "Resize", "scale": tuple(recipe.scale), "keep_ratio": True},
        {"type": "LoadAnnotations"},
        {"type": "PackSegInputs"},
    ]


def in_memory(pipeline: list[Config]) -> list[Config]:
    """Return an evaluation pipeline for images that are arrays (H, W, 3) in BGR already, and have no labels."""
    reading = ("LoadImageFromFile", "LoadAnnotations")
    return [{"type": "LoadImageFromNDArray"}, *(step for step in pipeline if step["type"] not in reading)]


def _random_side(sides: list[int], max_side: int) -> Config:
    return {
        "type": "RandomChoiceResize",
        "scales": [(max_side, side) for side in sides],
        "keep_ratio": True,
    }
