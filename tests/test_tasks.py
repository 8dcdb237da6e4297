"""The descriptions of the tasks agree with what else says something of them."""

import pytest

from clones import ROOT
from pacavit.data.registry import DATASETS
from pacavit.params import Params
from pacavit.paths import PUBLISHED
from pacavit.pipeline.table import STAGES
from pacavit.published import COUNTS, read
from pacavit.tasks import TASKS


def test_each_has_a_data_set_a_page_and_the_stages_of_its_models():
    assert list(TASKS) == list(DATASETS)
    for task in TASKS.values():
        assert task.training in Params.__dataclass_fields__
        for stage in (task.training, f"evaluate_{task.name}", f"figures_{task.name}"):
            assert STAGES[stage].wildcards == task.wildcards


def test_the_papers_print_every_metric_that_has_a_published_name():
    printed = {(claim.task, claim.metric) for claim in read(ROOT / PUBLISHED) if claim.metric not in COUNTS}
    named = {(task.name, name) for task in TASKS.values() for name in task.published}
    assert named <= printed


@pytest.mark.parametrize(
    ("task", "key", "title", "published_title", "text"),
    [
        ("imagenet", "top1", "top-1 / %", "top-1 / %", "90.20 %"),
        ("coco", "bbox.AP", "box AP", "box AP", "0.481"),
        ("ade20k", "mIoU", "mIoU", "mIoU / %", "0.544"),
    ],
)
def test_values_are_shown_in_the_unit_of_the_metrics_file(task, key, title, published_title, text):
    (metric,) = (metric for metric in TASKS[task].metrics if metric.key == key)
    assert (metric.title, metric.published_title) == (title, published_title)
    assert metric.text(float(text.split()[0])) == text


def test_columns_of_the_learning_curve():
    columns = [metric.column for task in TASKS.values() for metric in task.main]
    assert columns == [
        *("val_top1", "val_top5"),
        *("val_bbox_AP", "val_segm_AP"),
        *("val_mIoU", "val_mAcc", "val_aAcc"),
    ]
