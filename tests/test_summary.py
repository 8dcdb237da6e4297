"""The results in a few lines."""

import json
import shutil

import pytest

from clones import ROOT
from pacavit import summary


@pytest.fixture
def measure(project):
    """A function that leaves a metrics file of a scale."""
    shutil.copytree(ROOT / "claims", project / "claims")

    def write(path, values, untrained=None, scale="mini"):
        file = project / "reports" / scale / "metrics" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({**values, **({} if untrained is None else {"untrained": untrained})}))

    return write


def test_a_line_a_metric_with_the_untrained_model_beside_it(measure):
    measure("imagenet/test_pacavit/seed0.json", {"top1": 93.14}, {"top1": 9.8})
    measure(
        "coco/test_pacavit/seed0.json",
        {"bbox": {"AP": 0.4821}, "segm": {"AP": 0.4}},
        {"bbox": {"AP": 0.0}, "segm": {"AP": None}},
    )
    measure("ade20k/test_pacavit/paca/seed0.json", {"mIoU": 0.55}, {"mIoU": 0.01})
    measure("ade20k/test_pacavit/upernet/seed0.json", {"mIoU": 0.5}, {"mIoU": 0.02})
    assert summary.lines("mini") == [
        "                      trained  untrained",
        "  top-1               93.14 %     9.80 %",
        "  box AP                0.482      0.000",
        "  mask AP               0.400          –",
        "  mIoU, paca head       0.550      0.010",
        "  mIoU, upernet head    0.500      0.020",
    ]


def test_a_part_shows_what_was_measured(measure):
    assert summary.lines("mini") == ["  nothing is measured yet"]
    measure("imagenet/test_pacavit/seed0.json", {"top1": 93.14})
    assert [line.split() for line in summary.lines("mini")[1:]] == [["top-1", "93.14", "%", "–"]]


def test_seeds_give_mean_and_spread(measure, project):
    page = project / "params/mini/targets.yaml"
    page.write_text(page.read_text().replace("seeds: [0]", "seeds: [0, 1, 2]"))
    for seed, value in enumerate([90.0, 92.0, 94.0]):
        measure(f"imagenet/test_pacavit/seed{seed}.json", {"top1": value}, {"top1": 10.0})
    assert "92.00 % ± 2.00 %" in summary.lines("mini")[1]


def test_variants_give_a_range_and_the_released_weights_a_line_of_their_own(measure):
    for variant, value in {"pacavit_tiny_p2cconv_100_0": 80.0, "pacavit_small_p2cconv_100_0": 83.0}.items():
        measure(f"imagenet/{variant}/seed42.json", {"top1": value}, scale="paper")
    measure("released/imagenet/pacavit_tiny_p2cconv_100_0.json", {"top1": 80.9}, scale="paper")
    first, second = summary.lines("paper")[1:]
    assert "80.00 % to 83.00 % (2 variants)" in first
    assert second.split("  ")[1] == "top-1, released weights"
    assert "80.90 %" in second
