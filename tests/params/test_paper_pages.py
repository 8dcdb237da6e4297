"""The paper's pages hold the published values of every variant."""

import re
from pathlib import Path

import pytest

from pacavit import params, paths, published
from pacavit.models import paca_vit, variant_config

ROOT = Path(__file__).resolve().parents[2]
VARIANTS = [name for name in paca_vit._VARIANTS if name != "test_pacavit"]
BASE, BASE_TEACHER = "pacavit_base_p2cconv_100_0", "pacavit_convmixer_base_100"


@pytest.fixture
def pages(project):
    return params.load("paper")


def test_each_page_has_all_thirteen_variants(pages):
    assert len(VARIANTS) == 13
    for page in (pages.pretrain, pages.coco, pages.ade20k):
        assert list(page.variants) == VARIANTS


@pytest.mark.parametrize("name", VARIANTS)
def test_what_differs_between_variants_is_as_published(pages, name):
    pretrain, coco, ade20k = (page.variants[name] for page in (pages.pretrain, pages.coco, pages.ade20k))
    assert pretrain.drop_path == (0.5 if name == BASE else 0.1)
    assert pretrain.clip_grad == (1.0 if name in (BASE, BASE_TEACHER) else None)
    assert coco.drop_path == 0.1
    assert ade20k.drop_path["paca"] == (0.5 if name in (BASE, BASE_TEACHER) else 0.1)
    assert ade20k.drop_path["upernet"] == 0.1
    assert ade20k.num_clusters == [200 if m else 0 for m in variant_config(name)["num_clusters"]]


def test_the_rates_of_pretraining_follow_the_published_rule(pages):
    """Base rates are for a batch of 512 and grow with it."""
    recipe = pages.pretrain.recipe
    scale = recipe.global_batch / 512
    assert recipe.global_batch == 8 * 128
    assert (recipe.lr, recipe.warmup_lr, recipe.min_lr) == pytest.approx(
        (5e-4 * scale, 5e-7 * scale, 5e-6 * scale)
    )
    assert int(recipe.image_size / recipe.crop_pct) == 248


def test_the_dense_recipes_are_as_published(pages):
    coco, ade20k = pages.coco.recipe, pages.ade20k.recipe
    assert (coco.lr, coco.weight_decay, coco.epochs, coco.drop_epochs) == (1e-4, 0.05, 12, [8, 11])
    assert (coco.warmup_updates, coco.warmup_start, coco.global_batch) == (500, 1e-3, 16)
    assert coco.sides == list(range(480, 801, 32))
    assert (coco.crop.sides, coco.crop.size, coco.max_side) == ([400, 500, 600], [384, 600], 1333)
    assert (ade20k.lr, ade20k.weight_decay, ade20k.updates) == (6e-5, 0.01, 160_000)
    assert (ade20k.warmup_updates, ade20k.warmup_start, ade20k.global_batch) == (1500, 1e-6, 16)
    assert (ade20k.crop, ade20k.scale, ade20k.resize_ratio) == (512, [2048, 512], [0.5, 2.0])
    assert coco.clip_grad is ade20k.clip_grad is None
    assert coco.betas == ade20k.betas == [0.9, 0.999]


@pytest.mark.parametrize(
    ("page", "task", "labels"),
    [
        ("pretrain", "imagenet", {"top-1": ("", "top1")}),
        ("coco", "coco", {"box AP": ("", "ap_box"), "mask AP": ("", "ap_mask")}),
        ("ade20k", "ade20k", {"paca": ("paca", "miou"), "upernet": ("upernet", "miou")}),
    ],
)
def test_each_page_names_the_papers_number_of_each_variant(page, task, labels):
    printed = {(c.task, c.variant, c.head, c.metric): c.value for c in published.read(ROOT / paths.PUBLISHED)}
    text = (ROOT / paths.path(paths.PARAMS, scale="paper", page=page)).read_text()
    for name in VARIANTS:
        comment = re.search(rf"^  {name}: .*# (.*)$", text, re.MULTILINE)[1]
        expected = {
            label: printed[task, name, head, metric]
            for label, (head, metric) in labels.items()
            if (task, name, head, metric) in printed
        }
        assert dict(re.findall(rf"({'|'.join(labels)}) ([0-9.]+)", comment)) == expected
        assert expected or comment == "not published"
