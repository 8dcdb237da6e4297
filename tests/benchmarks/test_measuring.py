"""Figures of benchmarks: what is met, what is missed, and what is lost beyond noise."""

import importlib
from pathlib import Path

import pytest


@pytest.fixture
def measuring(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
    return importlib.import_module("measuring")


@pytest.mark.parametrize(
    ("values", "at_most", "holds", "lost"),
    [
        ([1.2, 1.4, 1.0], False, True, False),
        ([0.9, 0.9, 2.0], False, False, False),
        ([0.6, 0.6, 2.0], False, False, True),
        ([0.9, 0.5, 1.5], True, True, False),
        ([1.2, 0.5, 1.5], True, False, False),
        ([1.6, 0.5, 1.7], True, False, True),
    ],
)
def test_the_median_is_compared_with_an_aim_of_one(measuring, values, at_most, holds, lost):
    figure = measuring.Figure("x", values, aim=1.0, at_most=at_most)
    assert (figure.holds, figure.is_lost(0.7)) == (holds, lost)


def test_a_figure_without_an_aim_only_informs(measuring):
    figure = measuring.Figure("x", [1.0, 3.0])
    assert (figure.median, figure.holds, figure.is_lost(0.7)) == (2.0, None, False)


def test_ratios_are_taken_round_by_round(measuring):
    assert measuring.ratios({"ours": [1.0, 2.0], "peer": [2.0, 6.0]}, "ours", "peer") == [2.0, 3.0]
