"""Result tables: means and deviations over seeds."""

import json
from pathlib import Path

import pandas as pd
import pytest

from jobs import describe
from pacavit import params, paths
from pacavit.claims.results import Measured, trained
from pacavit.claims.tables import as_markdown, tabulate
from pacavit.pipeline import targets
from pacavit.published import read

PUBLISHED = Path(__file__).resolve().parents[2] / paths.PUBLISHED
TINY = "pacavit_tiny_p2cconv_100_0"


@pytest.fixture(scope="module")
def claims():
    return read(PUBLISHED)


def test_seeds_give_mean_and_deviation_beside_the_published_value(claims):
    results = {("imagenet", TINY, ""): Measured({"top1": [80.5, 81.0, 81.5]}, True, "abc", "def")}
    (row,) = tabulate("imagenet", claims, results).to_dict("records")
    assert row == {
        **{"variant": TINY, "head": "", "metric": "top1", "published": "80.9"},
        **{"mean": 81.0, "deviation": 0.5, "seeds": 3},
    }
    assert f"| {TINY} | 81.00 ± 0.50 (80.9) | 3 |" in as_markdown(tabulate("imagenet", claims, results))


def test_one_seed_has_no_deviation(claims):
    results = {("ade20k", TINY, "paca"): Measured({"miou": [45.0]}, True, "abc", "def")}
    table = tabulate("ade20k", claims, results)
    assert pd.isna(table.deviation[0])
    assert f"| {TINY} paca | 45.00 (45.65) | 1 |" in as_markdown(table)


def test_other_data_have_no_published_value_beside_them(claims):
    results = {("imagenet", TINY, ""): Measured({"top1": [99.0]}, False, "abc", "def")}
    assert tabulate("imagenet", claims, results).published[0] == ""


def test_a_table_holds_the_models_of_its_task_and_may_be_empty(claims):
    results = {("imagenet", TINY, ""): Measured({"top1": [80.0]}, True, "abc", "def")}
    assert tabulate("coco", claims, results).empty
    assert as_markdown(tabulate("coco", claims, results)).count("\n") == 2


def test_metrics_files_of_several_seeds_become_one_row(published_numbers, claims):
    page = paths.path(paths.PARAMS, scale="paper", page="targets")
    page.write_text(page.read_text().replace("seeds: [42]", "seeds: [1, 2, 3]"))
    for seed, top1 in ((1, 80.5), (2, 81.0), (3, 81.5)):
        path = targets.path("evaluate_imagenet.metrics", "paper", variant=TINY, seed=seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"top1": top1, "origin": {"official": True, "commit": "c", "data": "d"}}))
    found = trained(describe("claims", params.load("paper"), "paper"))
    (row,) = tabulate("imagenet", claims, found).to_dict("records")
    assert (row["mean"], row["deviation"], row["seeds"]) == (81.0, 0.5, 3)
