"""No knob of a page is silently unread."""

import pytest

from pacavit.evaluation import ade20k as evaluate_ade20k
from pacavit.evaluation import coco as evaluate_coco
from pacavit.evaluation import imagenet as evaluate_imagenet
from pacavit.interpretation import stage as clusters
from pacavit.params.ade20k import Ade20kPage
from pacavit.params.base import Page
from pacavit.params.coco import CocoPage, CropParams
from pacavit.params.evaluate import EvaluatePage
from pacavit.params.pretrain import PretrainPage
from pacavit.training import ade20k, coco, pretrain


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
