"""Every dense model of the paper's pages has exactly as many parameters as the published code makes.

``published_parameters.csv`` holds counts of that code at its commit 4307018, with the misspelt keyword of the tiny
teacher put right: of the whole model, and of its backbone or auxiliary head. No ``num_clusters`` are those of
pretraining.
"""

import csv
from dataclasses import replace
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pacavit import params
from pacavit.models import variant_config
from pacavit.openmmlab import models

PUBLISHED = Path(__file__).with_name("published_parameters.csv")
COCO_CLASSES, ADE20K_CLASSES = 80, 150
SIZES = ("tiny", "small", "base")


def published():
    """Return (variant, model, clusters or None) with the parameters of each part."""
    with open(PUBLISHED, newline="") as file:
        rows = list(csv.DictReader(file))
    grouped = groupby(rows, key=lambda row: (row["variant"], row["model"], row["num_clusters"]))
    return {
        (variant, model, tuple(map(int, clusters.split())) or None): {
            row["part"]: int(row["parameters"]) for row in group
        }
        for (variant, model, clusters), group in grouped
    }


COUNTS = published()
VARIANTS = sorted({variant for variant, _, _ in COUNTS})
CASES = [
    case if "tiny_p2cconv" in case[0] else pytest.param(*case, marks=pytest.mark.slow) for case in COUNTS
]


@pytest.fixture(scope="module")
def pages():
    return params.load("paper")


@pytest.fixture(scope="module")
def build(pages):
    """A function that gives a model of the pages, on the meta device, and builds it once."""
    return cache(partial(_build, pages))


def _build(pages, variant, model, num_clusters):
    """Return the model that the pages describe; without ``num_clusters`` a segmentor keeps those of pretraining."""
    if model == "mask_rcnn":
        encoder = models.backbone(variant, None, pages.coco.variants[variant].drop_path)
        config = models.mask_rcnn(encoder, COCO_CLASSES, pages.coco.recipe.detector)
        scope = "mmdet"
    else:
        if num_clusters is None:
            pages = with_clusters(pages, variant, list(variant_config(variant)["num_clusters"]))
        job = SimpleNamespace(params=pages, names={"head": model}, model=pages.targets.model(variant))
        config = models.segmentor(job, ADE20K_CLASSES, None, "SyncBN")
        scope = "mmseg"
    with torch.device("meta"):
        return models.build(config, scope)


def with_clusters(pages, variant, num_clusters):
    page = pages.ade20k
    changed = page.variants[variant].model_copy(update={"num_clusters": num_clusters})
    return replace(pages, ade20k=page.model_copy(update={"variants": {**page.variants, variant: changed}}))


@pytest.mark.parametrize(("variant", "model", "num_clusters"), CASES)
def test_parameters_are_exactly_the_published_ones(pages, build, variant, model, num_clusters):
    if num_clusters is not None:
        assert tuple(pages.ade20k.variants[variant].num_clusters) == num_clusters
    whole = build(variant, model, num_clusters)
    parts = {
        "model": whole,
        "backbone": whole.backbone,
        "auxiliary_head": getattr(whole, "auxiliary_head", torch.nn.Identity()),
    }
    counts = {part: sum(p.numel() for p in module.parameters()) for part, module in parts.items()}
    assert {part: counts[part] for part in COUNTS[variant, model, num_clusters]} == COUNTS[
        variant, model, num_clusters
    ]


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("model", ["mask_rcnn", "paca", "upernet"])
def test_the_last_block_has_the_drop_path_of_the_page(pages, build, variant, model):
    dense = pages.ade20k.variants[variant].drop_path
    expected = pages.coco.variants[variant].drop_path if model == "mask_rcnn" else dense[model]
    clusters = None if model == "mask_rcnn" else tuple(pages.ade20k.variants[variant].num_clusters)
    encoder = build(variant, model, clusters).backbone
    assert encoder.stage1[0].drop_path1.__class__ is torch.nn.Identity
    assert encoder.stage4[-1].drop_path1.drop_prob == encoder.stage4[-1].drop_path2.drop_prob
    assert encoder.stage4[-1].drop_path2.drop_prob == pytest.approx(expected)


def test_every_variant_is_compared_in_every_published_model(pages):
    compared = {model: set() for model in ("mask_rcnn", "paca", "upernet")}
    for variant, model, num_clusters in COUNTS:
        if model == "mask_rcnn" or num_clusters is not None:
            compared[model].add(variant)
    assert len(compared["mask_rcnn"]) == 13
    assert compared["mask_rcnn"] == compared["paca"] == set(pages.coco.variants) == set(pages.ade20k.variants)
    assert compared["upernet"] == {f"pacavit_{size}_p2cconv_100_0" for size in SIZES}
