"""The three dense models as mmengine configurations, built from mmdetection's and mmsegmentation's own classes.

What is not an argument is as in the published configurations; the pages of parameters of the paper's scale hold
the published values of the arguments, and the miniature passes smaller ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope

import pacavit.openmmlab.backbone
import pacavit.openmmlab.timm_backbone  # noqa: F401, registers it as the one above
from pacavit.job import Job
from pacavit.models import variant_config, variants
from pacavit.params.ade20k import Ade20kPage, FpnParams, PacaHeadParams, UperNetParams
from pacavit.params.coco import DetectorParams
from pacavit.params.targets import Model

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
_STRIDES = [4, 8, 16, 32, 64]
IGNORED = 255

Config = dict[str, Any]


def build(config: Config, scope: str) -> torch.nn.Module:
    """Return the model of a configuration; ``scope`` is ``mmdet`` or ``mmseg``, whose classes it names."""
    with scoped(scope):
        return MODELS.build(ConfigDict(config))


@contextmanager
def scoped(scope: str) -> Iterator[None]:
    """Make the classes of ``mmdet`` or ``mmseg`` known, and for a while the ones that plain names mean."""
    if scope == "mmdet":
        from mmdet.utils import register_all_modules

        import pacavit.openmmlab.roi_extractor
    else:
        from mmseg.utils import register_all_modules

        import pacavit.openmmlab.paca_head  # noqa: F401, registers it
    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope(scope):
        yield


def backbone(
    model: Model | str,
    checkpoint: str | None,
    drop_path: float,
    num_clusters: list[int] | None = None,
    pretrained_weights: Literal["kept", "lost"] = "kept",
) -> Config:
    """Return the backbone of a variant or of a registered name; without ``num_clusters`` those of pretraining stay.

    ``pretrained_weights`` is as in :class:`pacavit.openmmlab.backbone.PaCaViTBackbone`.
    """
    model = Model.of(model)
    common = {"checkpoint": checkpoint, "drop_path_rate": drop_path}
    if model.is_paca:
        config = {"type": "PaCaViTBackbone", "variant": model.model, **common, **model.kwargs}
    else:
        own = {"kwargs": dict(model.kwargs), "imports": list(model.imports)}
        config = {"type": "TimmBackbone", "model": model.model, **common, **own}
    if num_clusters is not None:
        config["num_clusters"] = num_clusters
    if pretrained_weights != "kept":
        config["pretrained_weights"] = pretrained_weights
    return config


def mask_rcnn(
    encoder: Config, num_classes: int, options: DetectorParams, dims: Sequence[int] | None = None
) -> Config:
    """Return Mask R-CNN with a feature pyramid on the encoder.

    Args:
        encoder: from :func:`backbone`, or another backbone of four stages.
        num_classes: of objects, without the background.
        options: widths, proposals and anchors.
        dims: channels of the stages of another backbone.
    """
    channels = options.channels
    assigner = {"type": "MaxIoUAssigner", "ignore_iof_thr": -1}
    coder = {"type": "DeltaXYWHBBoxCoder", "target_means": [0.0] * 4}
    return {
        "type": "MaskRCNN",
        "data_preprocessor": {
            "type": "DetDataPreprocessor",
            "mean": MEAN,
            "std": STD,
            "bgr_to_rgb": True,
            "pad_mask": True,
            "pad_size_divisor": 32,
        },
        "backbone": encoder,
        "neck": {
            "type": "FPN",
            "in_channels": _dims(encoder, dims),
            "out_channels": channels,
            "num_outs": 5,
        },
        "rpn_head": {
            "type": "RPNHead",
            "in_channels": channels,
            "feat_channels": channels,
            "anchor_generator": {
                "type": "AnchorGenerator",
                "scales": [options.anchor_scale],
                "ratios": [0.5, 1.0, 2.0],
                "strides": _STRIDES,
            },
            "bbox_coder": {**coder, "target_stds": [1.0] * 4},
            "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
            "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
        },
        "roi_head": {
            "type": "StandardRoIHead",
            "bbox_roi_extractor": _roi_extractor(7, channels),
            "bbox_head": {
                "type": "Shared2FCBBoxHead",
                "in_channels": channels,
                "fc_out_channels": options.fc_channels,
                "roi_feat_size": 7,
                "num_classes": num_classes,
                "bbox_coder": {**coder, "target_stds": [0.1, 0.1, 0.2, 0.2]},
                "reg_class_agnostic": False,
                "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
                "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
            },
            "mask_roi_extractor": _roi_extractor(14, channels),
            "mask_head": {
                "type": "FCNMaskHead",
                "num_convs": options.mask_convs,
                "in_channels": channels,
                "conv_out_channels": channels,
                "num_classes": num_classes,
                "loss_mask": {"type": "CrossEntropyLoss", "use_mask": True, "loss_weight": 1.0},
            },
        },
        "train_cfg": {
            "rpn": {
                "assigner": {
                    **assigner,
                    "pos_iou_thr": 0.7,
                    "neg_iou_thr": 0.3,
                    "min_pos_iou": 0.3,
                    "match_low_quality": True,
                },
                "sampler": _sampler(options.rpn_samples, 0.5, add_gt=False),
                "allowed_border": -1,
                "pos_weight": -1,
                "debug": False,
            },
            "rpn_proposal": _proposals(2 * options.train_proposals, options.train_proposals),
            "rcnn": {
                "assigner": {
                    **assigner,
                    "pos_iou_thr": 0.5,
                    "neg_iou_thr": 0.5,
                    "min_pos_iou": 0.5,
                    "match_low_quality": True,
                },
                "sampler": _sampler(options.roi_samples, 0.25, add_gt=True),
                "mask_size": 28,
                "pos_weight": -1,
                "debug": False,
            },
        },
        "test_cfg": {
            "rpn": _proposals(options.test_proposals, options.test_proposals),
            "rcnn": {
                "score_thr": 0.05,
                "nms": {"type": "nms", "iou_threshold": 0.5},
                "max_per_img": options.detections,
                "mask_thr_binary": 0.5,
            },
        },
    }


def upernet(
    encoder: Config,
    num_classes: int,
    options: UperNetParams,
    crop: int,
    norm: str,
    dims: Sequence[int] | None = None,
) -> Config:
    """Return UPerNet with an auxiliary head on stage 3.

    Args:
        encoder: from :func:`backbone`, or another backbone of four stages.
        num_classes: without the unlabelled one.
        options: widths.
        crop: side of the training crop, pixels.
        norm: ``SyncBN``, or ``BN`` in one process.
        dims: channels of the stages of another backbone.
    """
    dims = _dims(encoder, dims)
    decode = {
        **_head(num_classes, options.channels, norm),
        "type": "UPerHead",
        "in_channels": dims,
        "in_index": [0, 1, 2, 3],
        "pool_scales": [1, 2, 3, 6],
    }
    auxiliary = {
        **_head(num_classes, options.auxiliary_channels, norm, loss_weight=0.4),
        "type": "FCNHead",
        "in_channels": dims[2],
        "in_index": 2,
        "num_convs": 1,
        "concat_input": False,
    }
    return {**_segmentor(encoder, crop), "decode_head": decode, "auxiliary_head": auxiliary}


def paca_segmentor(
    encoder: Config, num_classes: int, options: PacaHeadParams, crop: int, norm: str
) -> Config:
    """Return a segmentor with the PaCa head; arguments as of :func:`upernet`."""
    head = {
        **_head(num_classes, options.channels, norm, only_labelled=True),
        "type": "PaCaHead",
        "in_channels": _dims(encoder),
        "in_index": [0, 1, 2, 3],
        "cluster_loss_weight": options.cluster_loss_weight,
    }
    return {**_segmentor(encoder, crop), "decode_head": head}


def semantic_fpn(
    encoder: Config,
    num_classes: int,
    options: FpnParams,
    crop: int,
    norm: str,
    dims: Sequence[int] | None = None,
) -> Config:
    """Return Semantic FPN, the segmentor of the PVT papers; arguments as of :func:`upernet`."""
    channels = options.neck_channels
    head = {
        "type": "FPNHead",
        "in_channels": [channels] * 4,
        "in_index": [0, 1, 2, 3],
        "feature_strides": _STRIDES[:4],
        **_head(num_classes, options.channels, norm),
    }
    neck = {
        "type": "FPN",
        "in_channels": _dims(encoder, dims),
        "out_channels": channels,
        "num_outs": 4,
    }
    return {**_segmentor(encoder, crop), "neck": neck, "decode_head": head}


#: For each of :data:`pacavit.tasks.HEADS`, the function that returns a segmentor with it; arguments as of
#: :func:`paca_segmentor`.
SEGMENTORS: Mapping[str, Callable[..., Config]] = {
    "paca": paca_segmentor,
    "upernet": upernet,
    "fpn": semantic_fpn,
}


def segmentor(job: Job, num_classes: int, checkpoint: str | None, norm: str) -> Config:
    """Return the job's variant with the job's head; arguments as of :func:`backbone` and :func:`upernet`."""
    return variant_segmentor(
        job.params.ade20k, job.model, str(job.names["head"]), num_classes, checkpoint, norm
    )


def variant_segmentor(
    page: Ade20kPage, model: Model, head: str, num_classes: int, checkpoint: str | None, norm: str
) -> Config:
    """Return a variant of a page with a head; arguments as of :func:`backbone` and :func:`upernet`."""
    variant = page.variants[model.variant]
    drop_path = variant.drop_path[head]
    encoder = backbone(model, checkpoint, drop_path, variant.num_clusters, page.recipe.pretrained_weights)
    return SEGMENTORS[head](encoder, num_classes, getattr(page.heads, head), page.recipe.crop, norm)


def _dims(encoder: Config, dims: Sequence[int] | None = None) -> list[int]:
    if dims is not None:
        return list(dims)
    if encoder["type"] == "PaCaViTBackbone":
        return list({**variant_config(encoder["variant"]), **encoder}["embed_dims"])
    model = Model(encoder["model"], encoder["model"], encoder["kwargs"], tuple(encoder["imports"]))
    return list(variants.maps(model).channels)


def _roi_extractor(size: int, channels: int) -> Config:
    return {
        "type": "FullPrecisionRoIExtractor",
        "roi_layer": {"type": "RoIAlign", "output_size": size, "sampling_ratio": 0},
        "out_channels": channels,
        "featmap_strides": _STRIDES[:4],
    }


def _sampler(count: int, positive: float, add_gt: bool) -> Config:
    return {
        "type": "RandomSampler",
        "num": count,
        "pos_fraction": positive,
        "neg_pos_ub": -1,
        "add_gt_as_proposals": add_gt,
    }


def _proposals(before: int, count: int) -> Config:
    return {
        "nms_pre": before,
        "max_per_img": count,
        "nms": {"type": "nms", "iou_threshold": 0.7},
        "min_bbox_size": 0,
    }


def _head(
    num_classes: int, channels: int, norm: str, loss_weight: float = 1.0, only_labelled: bool = False
) -> Config:
    return {
        "channels": channels,
        "num_classes": num_classes,
        # Without it mmsegmentation warns, and advises one output for two classes.
        **({"out_channels": 2} if num_classes == 2 else {}),
        "dropout_ratio": 0.1,
        "norm_cfg": {"type": norm, "requires_grad": True},
        "align_corners": False,
        "loss_decode": {
            "type": "CrossEntropyLoss",
            "use_sigmoid": False,
            "loss_weight": loss_weight,
            "avg_non_ignore": only_labelled,
        },
    }


def _segmentor(encoder: Config, crop: int) -> Config:
    return {
        "type": "EncoderDecoder",
        "data_preprocessor": {
            "type": "SegDataPreProcessor",
            "mean": MEAN,
            "std": STD,
            "bgr_to_rgb": True,
            "pad_val": 0,
            "seg_pad_val": IGNORED,
            "size": (crop, crop),
        },
        "backbone": encoder,
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
