"""The results in a few lines, for the terminal: each metric of the trained and of the untrained models."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from pacavit import params
from pacavit.claims.results import lookup
from pacavit.pipeline import targets
from pacavit.tasks import TASKS, Metric

#: A metrics file a seed, by variant.
Runs = dict[str, list[dict[str, Any]]]


def lines(scale: str) -> list[str]:
    """Return a table of what is measured: a line a metric, and for segmentation a line a head.

    Several seeds give mean and standard deviation, several variants the least and the greatest of their means.
    """
    rows = [("", "trained", "untrained"), *_rows(scale)]
    if len(rows) == 1:
        return ["  nothing is measured yet"]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return [f"  {name:<{widths[0]}}  {a:>{widths[1]}}  {b:>{widths[2]}}" for name, a, b in rows]


def _rows(scale: str) -> Iterator[tuple[str, str, str]]:
    for prefix, of in (("evaluate_", ""), ("evaluate_released_", ", released weights")):
        for task in TASKS.values():
            measured = _measured(prefix + task.name, scale)
            for metric in (metric for metric in task.main if metric.published):
                for head, runs in measured.items():
                    name = f"{metric.label}{f', {head} head' if head else ''}{of}"
                    yield name, _shown(runs, metric), _shown(runs, metric, "untrained.")


def _measured(stage: str, scale: str) -> dict[str, Runs]:
    """Return the metrics of a stage's jobs, as far as they are there, by head."""
    found: dict[str, Runs] = defaultdict(lambda: defaultdict(list))
    wanted = params.load(scale).targets
    for names in targets.targets(stage, wanted.limited_to(wanted.every)):
        path = targets.path(f"{stage}.metrics", scale, **names)
        if path.exists():
            found[str(names.get("head", ""))][str(names["variant"])].append(json.loads(path.read_text()))
    return found


def _shown(runs: Runs, metric: Metric, prefix: str = "") -> str:
    """Return a metric over variants and seeds."""
    key = prefix + metric.key
    by_variant = [[value for run in of if (value := lookup(run, key)) is not None] for of in runs.values()]
    means = [statistics.mean(values) for values in by_variant if values]
    if not means:
        return "–"
    if len(means) > 1:
        return f"{metric.text(min(means))} to {metric.text(max(means))} ({len(means)} variants)"
    (values,) = filter(None, by_variant)
    return metric.text(means[0]) + (f" ± {metric.text(statistics.stdev(values))}" if len(values) > 1 else "")
