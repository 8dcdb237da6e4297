"""No knob of a page is silently unread."""

from dataclasses import replace

import pytest

from jobs import describe
from pacavit import params
from pacavit.evaluation import ade20k as evaluate_ade20k
from pacavit.evaluation import coco as evaluate_coco
from pacavit.evaluation import imagenet as evaluate_imagenet
from pacavit.interpretation import stage as clusters
from pacavit.params.ade20k import Ade20kPage, Heads
from pacavit.params.base import Page
from pacavit.params.coco import CocoPage, CropParams
from pacavit.params.evaluate import EvaluatePage
from pacavit.params.pretrain import PretrainPage
from pacavit.training import ade20k, coco, pretrain
from small_models import SMALL_FPN


def knobs(page: type[Page]) -> set[tuple[str, str]]:
    """Return every field below a page as (section, key), found in its schema."""
    definitions = page.model_json_schema()["$defs"]
    return {(section, key) for section, schema in definitions.items() for key in schema.get("properties", {})}


@pytest.fixture
def read(monkeypatch):
    """The fields of pages that are read from now on, as (section, key)."""
    found: set[tuple[str, str]] = set()
    plain = Page.__getattribute__

    def recording(self, name):
        if name in type(self).__pydantic_fields__:
            found.add((type(self).__name__, name))
        return plain(self, name)

    monkeypatch.setattr(Page, "__getattribute__", recording)
    return found


def _with_fpn(job):
    """Return a segmentor's job with Semantic FPN, which the miniature's page leaves out."""
    given = params.load("mini")
    variant = given.ade20k.variants["test_pacavit"].model_copy(update={"drop_path": {"fpn": 0.0}})
    changed = {"recipe": job.params.ade20k.recipe, "heads": Heads(fpn=SMALL_FPN)}
    page = given.ade20k.model_copy(update={**changed, "variants": {"test_pacavit": variant}})
    names = {**job.names, "head": "fpn"}
    return describe("ade20k", replace(given, ade20k=page), work=job.work, names=names)


@pytest.mark.slow
def test_every_knob_is_read_by_a_training_or_an_evaluation(create_job, read):
    crop = {"sides": [40], "size": [24, 40]}
    plain = create_job("pretrain").params.pretrain.recipe.augmentation
    mixed = plain.model_copy(update={"mixup": 0.8})
    jobs = [
        (pretrain.pretrain, create_job("pretrain", work="pretrain", augmentation=mixed)),
        (coco.finetune, create_job("coco", work="coco", crop=CropParams.model_validate(crop))),
        (ade20k.finetune, create_job("ade20k", work="paca", head="paca")),
        (ade20k.finetune, create_job("ade20k", work="upernet", head="upernet")),
        (ade20k.finetune, _with_fpn(create_job("ade20k", work="fpn", head="upernet"))),
        (evaluate_imagenet.evaluate, create_job("evaluate_imagenet")),
        (evaluate_coco.evaluate, create_job("evaluate_coco")),
        (evaluate_ade20k.evaluate, create_job("evaluate_ade20k", head="paca")),
        (clusters.measure, create_job("clusters", head="paca")),
    ]
    read.clear()
    for run, job in jobs:
        run(job)
    wanted = set().union(*(knobs(page) for page in (PretrainPage, CocoPage, Ade20kPage, EvaluatePage)))
    assert len(wanted) > 80
    assert wanted - read == set()
