"""The stage ``complexity``: parameters and multiply-adds of every model that a published number is about.

Models are built from the paper's pages of parameters, whatever the scale, and hold no numbers: no data is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from timm.models import pvt_v2
from torch import Tensor, nn
from tqdm import tqdm

from pacavit.claims import baselines
from pacavit.claims.operations import authors_total, correct_total, count_operations
from pacavit.claims.statements import counted_quantities
from pacavit.data.registry import DATASETS
from pacavit.files import write_json
from pacavit.job import Job
from pacavit.models import PaCaViT, variant_config, variant_names, variants
from pacavit.models.paca_vit import PatchToClusterAttention, create_clustering
from pacavit.openmmlab import models
from pacavit.params import Params
from pacavit.params.ade20k import FpnParams
from pacavit.published import COUNTS, Claim, Counted, counted_by, read
from pacavit.tasks import TASKS
from pacavit.tracking import git_commit

#: Regions of an image in the published counts: boxes classified, and masks drawn.
_BOXES, _MASKS = 1000, 100
#: Widths of Semantic FPN in the PVT papers.
_PUBLISHED_FPN = FpnParams(channels=128, neck_channels=256)


def count(job: Job) -> None:
    """Write parameters and multiply-adds of the published models, and of one attention layer over its patches."""
    wanted = wanted_models(read(job.inputs["published"]))
    bar = tqdm(wanted, desc="complexity", unit="model", disable=None)
    counted = [measure(model, job.paper) for model in bar]
    write_json(
        job.outputs["complexity"],
        {"models": counted, "attention": attention_costs(), "origin": {"commit": git_commit()}},
    )
    job.run.log({"models": len(counted)}, step=0)
    job.run.artifact(job.outputs["complexity"])


def wanted_models(claims: Iterable[Claim]) -> list[Counted]:
    """Return the models that the claims count, and those that statements compare, each once and in order."""
    counted = [counted_by(claim) for claim in claims if claim.metric in COUNTS]
    compared = [Counted(q.task, q.variant, q.head, TASKS[q.task].size) for q in counted_quantities()]
    return list(dict.fromkeys([*counted, *compared]))


def measure(model: Counted, paper: Params) -> dict[str, Any]:
    """Return a model's parameters and its multiply-adds by kind of operation.

    Args:
        model: which one; the parameters do not depend on its size.
        paper: the pages with the published settings.
    """
    # The libraries' baselines read numbers off tensors while they are built.
    with torch.device("meta" if model.variant in variant_names() else "cpu"):
        built = _build(model, paper)
    return count_model(model, built)


def measure_variant(model: Counted, given: Params) -> dict[str, Any]:
    """Return the same of a variant of a scale's pages, whatever its family."""
    variant, classes = given.targets.model(model.variant), DATASETS[model.task].num_classes
    with torch.device("meta"):
        if model.task == "imagenet":
            built = variants.create(variant, classes, image_size=model.size[0])
        elif model.task == "coco":
            encoder = models.backbone(variant, None, 0.0)
            built = models.build(models.mask_rcnn(encoder, classes, given.coco.recipe.detector), "mmdet")
        else:
            config = models.variant_segmentor(given.ade20k, variant, model.head, classes, None, "BN")
            built = models.build(config, "mmseg")
    return count_model(model, built)


def count_model(model: Counted, built: nn.Module) -> dict[str, Any]:
    """Return parameters and multiply-adds of a model that is built, at the size of images that ``model`` names."""
    built = built.eval().to("meta")
    with torch.device("meta"):
        images = torch.empty(1, 3, *model.size)
        counts = count_operations(built, lambda: _run(model.task, built, images))
    return {
        "task": model.task,
        "variant": model.variant,
        "head": model.head,
        "input": "{}x{}".format(*model.size),
        "parameters": sum(p.numel() for p in built.parameters()),
        "operations": counts,
        "multiply_adds": correct_total(counts),
        "multiply_adds_authors": authors_total(counts),
    }


def attention_costs(
    patches: Iterable[int] = (1024, 4096, 16384), dim: int = 96, heads: int = 2
) -> dict[str, Any]:
    """Return multiply-adds of one attention layer over numbers of patches, by the kind of attention.

    To 100 clusters the cost is linear in the patches; without clusters it is quadratic (abstract of the paper), and so
    it is to a grid reduced eightfold a side, as in PVT's first stage, with a 64th of the factor.
    """
    with torch.device("meta"):
        layers = {
            "clusters_100": PatchToClusterAttention(dim, heads, 100, create_clustering("conv", dim, 100)),
            "clusters_0": PatchToClusterAttention(dim, heads, 0),
            "reduced_8": pvt_v2.Attention(dim, heads, sr_ratio=8),
        }
    costs: dict[str, Any] = {"patches": list(patches)}
    for kind, layer in layers.items():
        costs[kind] = [_layer_cost(layer.eval(), n, dim) for n in costs["patches"]]
    return costs


def _layer_cost(layer: nn.Module, patches: int, dim: int) -> int:
    tokens = torch.empty(1, patches, dim, device="meta")
    return correct_total(count_operations(layer, lambda: layer(tokens, (patches // 32, 32))))


def _build(model: Counted, paper: Params) -> nn.Module:
    ours = model.variant in variant_names()
    classes = DATASETS[model.task].num_classes
    if model.task == "imagenet":
        if ours:
            return PaCaViT(**variant_config(model.variant))
        return baselines.classifier(model.variant, classes)
    page = paper.ade20k
    if not ours:
        encoder, dims = baselines.encoder(model.variant)
    else:
        num_clusters = page.variants[model.variant].num_clusters if model.task == "ade20k" else None
        encoder, dims = models.backbone(model.variant, None, 0.0, num_clusters), None
    if model.task == "coco":
        return models.build(models.mask_rcnn(encoder, classes, paper.coco.recipe.detector, dims), "mmdet")
    crop, norm = page.recipe.crop, "BN"
    if ours:
        config = models.SEGMENTORS[model.head](encoder, classes, getattr(page.heads, model.head), crop, norm)
    elif model.head == "upernet":
        config = models.upernet(encoder, classes, page.heads.upernet, crop, norm, dims)
    else:
        config = models.semantic_fpn(encoder, classes, _PUBLISHED_FPN, crop, norm, dims)
    return models.build(config, "mmseg")


def _run(task: str, model: nn.Module, images: Tensor) -> None:
    """Run the parts of a model that the published figures count.

    What is left out has no products but depends on the image: proposals, pooling of regions, resizing to the image.
    """
    if task == "imagenet":
        model(images)
        return
    features = model.backbone(images)
    if getattr(model, "neck", None) is not None:
        features = model.neck(features)
    if task == "ade20k":
        # The auxiliary head is for training only.
        model.decode_head(features)
        return
    channels = features[0].shape[1]
    model.rpn_head(features)
    model.roi_head.bbox_head(torch.empty(_BOXES, channels, 7, 7))
    model.roi_head.mask_head(torch.empty(_MASKS, channels, 14, 14))
