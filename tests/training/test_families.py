"""A small model of each family through every stage: trained, interrupted and resumed, measured, and used."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from jobs import describe
from kills import killed_after
from pacavit import params
from pacavit.checkpoints.export import export
from pacavit.checkpoints.inspection import inspect
from pacavit.evaluation import ade20k as evaluate_ade20k
from pacavit.evaluation import coco as evaluate_coco
from pacavit.evaluation import imagenet as evaluate_imagenet
from pacavit.files import sha256
from pacavit.params.ade20k import Ade20kVariant
from pacavit.params.coco import CocoVariant
from pacavit.params.pretrain import PretrainVariant
from pacavit.params.targets import ModelPage
from pacavit.prediction import run as prediction
from pacavit.tasks import HEADS
from pacavit.training import ade20k, coco, pretrain
from pages import SHORT
from small_models import SMALL_FPN

#: A model as a user writes one: a file of a few lines outside the package.
OWN = """
import torch
from timm.models import register_model
from torch import nn


class Mine(nn.Module):
    def __init__(self, num_classes=1000, dims=(8, 16, 24, 32)):
        super().__init__()
        strides = zip((3, *dims), dims, (4, 2, 2, 2))
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, s, stride=s), nn.BatchNorm2d(b), nn.GELU()) for a, b, s in strides
        )
        self.feature_info = [
            {"num_chs": dim, "reduction": 4 * 2**i, "module": f"stages.{i}"} for i, dim in enumerate(dims)
        ]
        self.head = nn.Linear(dims[-1], num_classes) if num_classes else nn.Identity()

    def get_classifier(self):
        return self.head

    def forward_intermediates(self, x, indices=None, intermediates_only=False, **options):
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return [maps[i] for i in indices]

    def forward(self, x):
        for stage in self.stages:
            x = stage(x)
        return self.head(x.mean((2, 3)))


@register_model
def own_model(pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, **kwargs):
    return Mine(**kwargs)
"""
PEERS = ("mini_swin", "mini_pvt_v2", "mini_convnext", "mini_resnet", "mini_plain", "mine")


@pytest.fixture
def pages(project, miniature):
    """The pages of the miniature with few updates, Semantic FPN, and a model of the user's."""
    shutil.copytree(miniature, project, dirs_exist_ok=True)
    (project / "mine.py").write_text(OWN)
    given = params.load("mini")
    every = {
        "targets": {
            "heads": list(HEADS),
            "groups": {**given.targets.groups, "own": ["mine"]},
            "models": {**given.targets.models, "mine": ModelPage(model="own_model")},
            "imports": ["mine"],
        },
        "pretrain": {
            "variants": {**given.pretrain.variants, "mine": PretrainVariant(drop_path=0.0, clip_grad=None)}
        },
        "coco": {"variants": {**given.coco.variants, "mine": CocoVariant(drop_path=0.0)}},
        "ade20k": {
            "heads": given.ade20k.heads.model_copy(update={"fpn": SMALL_FPN}),
            "variants": {name: Ade20kVariant(drop_path={"upernet": 0.0, "fpn": 0.0}) for name in PEERS},
        },
    }
    changed = {}
    for page, update in every.items():
        whole = getattr(given, page).model_copy(update=update)
        if page in SHORT:
            whole = whole.model_copy(update={"recipe": whole.recipe.model_copy(update=SHORT[page])})
        changed[page] = whole
    yield replace(given, **changed)
    sys.modules.pop("mine", None)


@pytest.mark.parametrize(
    "variant", [name if name == "mine" else pytest.param(name, marks=pytest.mark.slow) for name in PEERS]
)
def test_a_model_of_each_family_goes_through_every_stage(pages, project, variant, monkeypatch):
    monkeypatch.setattr(params, "load", lambda scale: pages)

    def job(stage, work="work", **names):
        return describe(
            stage,
            pages,
            work=project / work / "-".join([stage, *names.values()]),
            names={"variant": variant, **names, "seed": 0},
        )

    def trained(run, stage, **names):
        """Train twice, once with an interruption, and return the weights."""
        undisturbed = job(stage, "undisturbed", **names)
        run(undisturbed)
        expected = sha256(undisturbed.outputs["weights"])
        with killed_after(3):
            run(job(stage, "disturbed", **names))
        resumed = job(stage, "disturbed", **names)
        run(resumed)
        assert sha256(resumed.outputs["weights"]) == expected
        return resumed.outputs["weights"]

    weights = {("imagenet", None): trained(pretrain.pretrain, "pretrain")}
    weights["coco", None] = trained(coco.finetune, "coco")
    for head in ("upernet", "fpn"):
        weights["ade20k", head] = trained(ade20k.finetune, "ade20k", head=head)
    evaluate_imagenet.evaluate(job("evaluate_imagenet"))
    evaluate_coco.evaluate(job("evaluate_coco"))
    Image.new("RGB", (70, 51), (200, 30, 30)).save("red.png")
    for (task, head), file in weights.items():
        if task == "ade20k":
            evaluate_ade20k.evaluate(job("evaluate_ade20k", head=head))
        target = project / f"predicted-{task}-{head}"
        prediction.predict(task, [Path("red.png")], file, variant, target)
        found = json.loads((target / "predictions.json").read_text())
        assert (found["variant"], found.get("head")) == (variant, head)
        model = pages.targets.model(variant)
        assert inspect(file, model).problems() == 0
        export(file, model, project / "copy.safetensors")
        assert all(
            torch.equal(a, b)
            for a, b in zip(load_file(file).values(), load_file("copy.safetensors").values(), strict=True)
        )
