"""Learning curves, from what a training logged."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pandas as pd

from pacavit.drawing.style import COLOURS, figure
from pacavit.job import Job


def draw_curve(job: Job, metrics: Mapping[str, tuple[str, str]], axis: str) -> None:
    """Draw training loss, learning rate, and validation metrics with the untrained model's level.

    Args:
        job: with inputs ``curve`` (CSV) and ``metrics`` (JSON), and the output ``curve``.
        metrics: for each metric, by its label: column of the CSV, and dotted key of the metrics file.
        axis: label of the metrics' axis.
    """
    table = pd.read_csv(job.inputs["curve"])
    untrained = json.loads(job.inputs["metrics"].read_text()).get("untrained")
    with figure(job.outputs["curve"], 7.5, 3.0) as canvas:
        left, right = canvas.subplots(1, 2)
        loss = table[["step", "train_loss"]].dropna()
        left.plot(loss["step"], loss["train_loss"], marker=_mark(loss, "o"), label="training loss")
        left.set(xlabel="update", ylabel="training loss", title="Training", ylim=(0, None))
        rate = left.twinx()
        rates = table[["step", "train_lr"]].dropna()
        style = {"color": "#777777", "linestyle": ":", "marker": _mark(rates, "x")}
        rate.plot(rates["step"], rates["train_lr"], label="learning rate", **style)
        rate.set(ylabel="learning rate (dotted)", ylim=(0, None))
        rate.grid(False)
        rate.spines["right"].set_visible(True)
        for (label, (column, key)), colour, marker in zip(metrics.items(), COLOURS, "os^", strict=False):
            values = table.reindex(columns=["step", column]).dropna()
            right.plot(values["step"], values[column], marker=marker, markersize=4, color=colour, label=label)
            if untrained is not None:
                level = _lookup(untrained, key)
                right.axhline(level, color=colour, linestyle="--", linewidth=1, label=f"{label}, untrained")
        right.set(xlabel="update", ylabel=axis, title="Validation", ylim=(0, None))
        right.legend(frameon=False)
    job.run.artifact(job.outputs["curve"])


def _mark(points: pd.DataFrame, marker: str) -> str | None:
    """Return the marker of a line, which a single point needs to be seen."""
    return marker if len(points) == 1 else None


def _lookup(values: Mapping, key: str) -> float:
    for part in key.split("."):
        values = values[part]
    return float(values or 0.0)
