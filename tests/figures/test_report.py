"""What the report gathers, without a browser."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from jobs import describe
from pacavit import params
from pacavit.figures import report
from pacavit.interpretation.measures import pack
from pacavit.pipeline import targets
from pacavit.tasks import TASKS

MEASURED = {"nmi": 0.5, "purity": 0.5, "matched_miou": 0.2, "use_entropy": 0.9, "used": 2, "clusters": 2}


@pytest.fixture
def job(project):
    """A function that returns the job of the page at the miniature's scale with two seeds."""
    given = params.load("mini")
    wanted = given.targets.model_copy(update={"seeds": [0, 1], "heads": ["paca"]})
    return lambda: describe("report", params.Params(**{**vars(given), "targets": wanted}))


def write(seed: int, clusters: np.ndarray) -> None:
    path = targets.path("clusters.measures", "mini", variant="test_pacavit", head="paca", seed=seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    stages = {name: {**MEASURED, "untrained": MEASURED} for name in ("head", "stage 1")}
    kept = [{name: pack(clusters) for name in stages}]
    path.write_text(json.dumps({"stages": stages, "kept": kept}))


def test_seeds_are_compared_whatever_they_number_their_clusters(job):
    write(0, np.array([[0, 0], [1, 1]]))
    write(1, np.array([[1, 1], [0, 0]]))
    rows = report._measures(job())
    assert [row["stage"] for row in rows] == ["stage 1", "head"] * 2
    assert [row["seeds"] for row in rows] == [1.0] * 4


def test_a_seed_that_is_not_measured_yet_is_left_out(job):
    write(0, np.array([[0, 0], [1, 1]]))
    rows = report._measures(job())
    assert [row["seeds"] for row in rows] == [None, None]


def measure(task: str, **names: str | int) -> Path:
    path = targets.path(f"evaluate_{task}.metrics", "mini", variant="test_pacavit", **names)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_the_page_says_what_was_found_of_shared_images(job):
    assert report._shared(job()) == ""
    for seed in (0, 1):
        measure("imagenet", seed=seed).write_text(json.dumps({"images": 1200, "origin": {"shared": 0}}))
    assert report._shared(job()) == "By its content, none of these is a training image as well."
    measure("coco", seed=0).write_text(json.dumps({"images": 1200, "origin": {"shared": 1100}}))
    assert "1,100 of the 1,200 of coco are training images as well, so its numbers" in report._shared(job())


@pytest.mark.parametrize("kind", ["photograph", "lines", "tall"])
def test_a_figure_is_shown_small_and_linked_whole(job, kind):
    path = Path("reports/mini/figures/ima gen&et/curve.png")
    path.parent.mkdir(parents=True)
    if kind == "photograph":
        pixels = np.random.default_rng(0).normal(128, 30, (90, 120, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).resize((1200, 900), Image.Resampling.BICUBIC).save(path)
    else:
        image = Image.new("RGB", (400, 20000) if kind == "tall" else (2000, 300), "white")
        ImageDraw.Draw(image).line([(0, 0), image.size], "black")
        image.save(path)
    shown = report._shown(job(), path)
    assert shown["link"] == "figures/ima%20gen%26et/curve.png"
    content = base64.b64decode(shown["data"].removeprefix("data:image/webp;base64,"))
    assert len(content) < path.stat().st_size / 3
    with Image.open(io.BytesIO(content)) as preview:
        assert preview.width <= 1600
        assert preview.height <= 16000


def test_a_curve_leaves_out_what_is_no_number_and_what_was_never_logged(tmp_path):
    path = tmp_path / "curve.csv"
    table = {"step": [1, 2, 3], "train_loss": [2.0, np.inf, 1.0], "val_top1": [np.nan, 50.0, np.nan]}
    pd.DataFrame(table).to_csv(path, index=False)
    loss, validation = report._curves(path, TASKS["imagenet"])
    assert loss["lines"][0]["values"] == [2.0, None, 1.0]
    assert (validation["steps"], validation["lines"][0]["values"]) == ([2], [50.0])
    pd.DataFrame({"step": [1], "train_loss": [np.nan]}).to_csv(path, index=False)
    assert report._curves(path, TASKS["imagenet"]) == []
