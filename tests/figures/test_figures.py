"""Figures of a trained model that real data once spoilt."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from pacavit.drawing.style import COLOURS
from pacavit.drawing.text import text_width
from pacavit.figures import imagenet
from pacavit.figures.clusters import heat
from pacavit.figures.curves import draw_curve
from pacavit.tracking import Run


def test_a_map_with_a_few_large_weights_is_not_black():
    weights = np.full((56, 56), 1e-4)
    weights[:28] = 1e-3
    weights[0, 0] = 0.9
    shown = heat(weights)
    assert shown[0, 0] == shown[1, 1] == 1
    assert shown[-1, -1] == pytest.approx(np.sqrt(0.1))


@pytest.mark.parametrize("weights", [np.zeros((7, 7)), np.full((7, 7), 1 / 49), np.eye(7), np.ones((1, 1))])
def test_heat_is_within_its_range(weights):
    assert heat(weights).min() >= 0
    assert heat(weights).max() <= 1


def drawn_curve(folder, table: dict) -> np.ndarray:
    """Return the pixels of the learning curve of a table."""
    pd.DataFrame(table).to_csv(folder / "curve.csv", index=False)
    (folder / "metrics.json").write_text(json.dumps({}))
    job = SimpleNamespace(
        inputs={"curve": folder / "curve.csv", "metrics": folder / "metrics.json"},
        outputs={"curve": folder / "curve.png"},
        run=Run(None),
    )
    draw_curve(job, {"mIoU": ("val_mIoU", "mIoU")}, "share")
    return np.asarray(Image.open(folder / "curve.png").convert("RGB"))


def test_the_curve_of_a_single_epoch_is_seen(tmp_path):
    pixels = drawn_curve(tmp_path, {"step": [5], "train_loss": [1.5], "train_lr": [1e-3], "val_mIoU": [0.3]})
    loss = np.abs(pixels - 255 * np.array(to_rgb(COLOURS[0]))).max(axis=2) < 3
    left = np.nonzero(loss)[1] < pixels.shape[1] / 2
    assert left.sum() > 20


def test_a_metric_that_was_never_defined_leaves_the_curve_without_it(tmp_path):
    drawn_curve(tmp_path, {"step": [5, 10], "train_loss": [1.5, 1.0], "train_lr": [1e-3, 1e-3]})


@pytest.mark.parametrize(
    "truth", [None, "cash machine, cash dispenser, automated teller machine, automatic teller"]
)
def test_the_text_above_a_classified_image_is_no_wider_than_it(truth):
    text = imagenet._text("dragonfly, darning needle, devil's darning needle, sewing needle", 0.98, truth)
    assert max(text_width(line, imagenet._FONT) for line in text.split("\n")) < imagenet._PANEL
    assert text.startswith("✓ 98% dragonfly" if truth is None else "✗ 98% dragonfly")
