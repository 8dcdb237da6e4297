"""Keys and shapes that the models of the three tasks have, and which of them a file holds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from pacavit.models import PaCaViT, variant_config, variant_names, variants
from pacavit.params.targets import Head, Model
from pacavit.tasks import HEADS, TASKS
from pacavit.weights.fit import Fit
from pacavit.weights.reader import backbone_weights

Task = Literal["imagenet", "coco", "ade20k"]
State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Contents:
    """What a file's keys and shapes say of it.

    Attributes:
        task: whose model it is.
        head: of segmentation, else None.
        classes: how many, without the background; None without a classifier.
        variants: those whose backbone is nearest, several where they differ in numbers of clusters alone.
        clusters: M of each stage; empty of a model that has none.
        model: the first of the variants.
    """

    task: Task
    head: Head | None
    classes: int | None
    variants: tuple[str, ...]
    clusters: tuple[int, ...]
    model: Model


def contents(
    weights: State, variant: Model | str | None = None, task: Task | None = None, head: Head | None = None
) -> Contents:
    """Return what a file holds; what the arguments leave open is told from its keys and shapes.

    The variant is told of PaCa-ViTs alone.

    Raises:
        PacavitError: no such variant.
    """
    task = task or guess_task(weights)
    names = _nearest(weights, task) if variant is None else (Model.of(variant).variant,)
    model = Model.of(names[0] if variant is None else variant)
    background = TASKS[task].background
    classifier = TASKS[task].classifier
    if task == "imagenet" and not model.is_paca:
        classifier = f"{variants.describe(model)['classifier']}.weight"
    classes = _size(weights, classifier, 0)
    found = Contents(
        task,
        head,
        classes - background if classes > background else None,
        names,
        _clusters(weights, model) if model.is_paca else (),
        model,
    )
    return replace(found, head=_nearest_head(weights, found)) if task == "ade20k" and head is None else found


def guess_task(weights: State) -> Task:
    """Return the task whose heads the keys name; ``imagenet`` where none is."""
    if any(key.startswith(("rpn_head.", "roi_head.")) for key in weights):
        return "coco"
    if any(key.startswith(("decode_head.", "auxiliary_head.")) for key in weights):
        return "ade20k"
    return "imagenet"


def is_of_paca(weights: State) -> bool:
    """Return whether a file may hold a PaCa-ViT: some key in its backbone is of a block as only this model has them."""
    return any(re.match(r"(stage\d|paca_teacher|transition\d)\.", key) for key in backbone_weights(weights))


def expected_state(weights: State, found: Contents) -> dict[str, Tensor]:
    """Return the state dict, on the meta device, of the first variant's model that a file should hold.

    What a recipe chooses is as in the file: the number of classes, the widths of dense heads, and for ade20k the
    clusters. For imagenet and coco the clusters are the variant's.
    """
    with torch.device("meta"):
        return create_model(weights, found).state_dict()


def create_model(weights: State, found: Contents) -> torch.nn.Module:
    """Return the model, with random weights, whose state dict :func:`expected_state` gives."""
    if found.task == "imagenet":
        return variants.create(found.model, found.classes or 0)
    return _dense(weights, found)


def _dense(weights: State, found: Contents) -> torch.nn.Module:
    from pacavit.openmmlab import models
    from pacavit.params.ade20k import HEAD_PARAMS
    from pacavit.params.coco import DetectorParams

    # Sizes that a broken file does not state are the published ones; what shapes no tensor is 1.
    if found.task == "coco":
        convs = {
            match[1] for key in weights if (match := re.match(r"roi_head\.mask_head\.convs\.(\d+)\.", key))
        }
        options = DetectorParams(
            channels=_size(weights, "neck.fpn_convs.0.conv.weight", 256),
            anchor_scale=1.0,
            fc_channels=_size(weights, "roi_head.bbox_head.shared_fcs.0.weight", 1024),
            mask_convs=len(convs) or 4,
            train_proposals=1,
            test_proposals=1,
            detections=1,
            rpn_samples=1,
            roi_samples=1,
        )
        encoder = models.backbone(found.model, None, 0.0)
        return models.build(models.mask_rcnn(encoder, found.classes or 80, options), "mmdet")
    encoder = models.backbone(found.model, None, 0.0, list(found.clusters) or None)
    classes = found.classes or 150
    page, sizes = HEAD_PARAMS[found.head], _sizes(weights, found.head)
    options = page.model_construct(**{name: sizes.get(name, 1) for name in page.model_fields})
    return models.build(models.SEGMENTORS[found.head](encoder, classes, options, crop=32, norm="BN"), "mmseg")


def _sizes(weights: State, head: Head) -> dict[str, int]:
    """Return the parameters of segmentation heads that shape tensors, by name, as the file has them."""
    published = {"upernet": 512, "fpn": 128}.get(head, 256)
    return {
        "channels": _size(weights, "decode_head.conv_seg.weight", published, axis=1),
        "neck_channels": _size(weights, "neck.fpn_convs.0.conv.weight", 256),
        "auxiliary_channels": _size(weights, "auxiliary_head.conv_seg.weight", 256, axis=1),
    }


def _nearest_head(weights: State, found: Contents) -> Head:
    """Return the head whose segmentor knows most of the file's keys, and of several the one that fits best."""

    def distance(head: Head) -> tuple[int, int]:
        fit = Fit.of(expected_state(weights, replace(found, head=head)), weights)
        return len(fit.unknown), len(fit.misfit) + len(fit.missing)

    return min(filter(found.model.takes, HEADS), key=distance)


def _nearest(weights: State, task: Task) -> tuple[str, ...]:
    """Return the variants whose backbone differs least from the file's."""
    backbone = {k: v for k, v in backbone_weights(weights).items() if not k.startswith("head.")}
    distances = {}
    for name in variant_names():
        model = _backbone(json.dumps([name, {}]))
        fit = Fit.of(model.state_dict(), backbone)
        outputs = tuple(f"{layer}." for layer in model.cluster_outputs())
        other = {key for key in fit.misfit if key.startswith(outputs)}
        # Segmentation gives every variant numbers of clusters of its own.
        distances[name] = (len(fit.problems(allowed=other)), 0 if task == "ade20k" else len(other))
    return tuple(name for name, distance in distances.items() if distance == min(distances.values()))


def _clusters(weights: State, model: Model) -> tuple[int, ...]:
    backbone = backbone_weights(weights)
    clusters = list({**variant_config(model.model), **model.kwargs}["num_clusters"])
    for layer in _backbone(json.dumps([model.model, model.kwargs])).cluster_outputs():
        stage = int(re.search(r"stage(\d)|to_clusters(\d)", layer).expand(r"\1\2")) - 1
        clusters[stage] = _size(backbone, f"{layer}.weight", clusters[stage])
    return tuple(clusters)


@cache
def _backbone(key: str) -> PaCaViT:
    name, kwargs = json.loads(key)
    with torch.device("meta"):
        return PaCaViT(**{**variant_config(name), **kwargs, "num_classes": 0})


def _size(weights: State, key: str, default: int, axis: int = 0) -> int:
    tensor = weights.get(key)
    return default if tensor is None or tensor.ndim <= axis else tensor.shape[axis] or default
