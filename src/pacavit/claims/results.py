"""What was measured of each model, over its seeds, read from the metrics files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pacavit.job import Job
from pacavit.tasks import TASKS

#: The published metrics, by their names in the claims.
METRICS = {name: metric for task in TASKS.values() for name, metric in task.published.items()}


@dataclass(frozen=True)
class Measured:
    """What was measured of one model.

    Attributes:
        values: by published metric, in its unit, one value a seed.
        official: measured on the data that the papers used.
        commit, data: of the measuring code, and the hash of the data.
    """

    values: Mapping[str, list[float]]
    official: bool
    commit: str
    data: str


#: Models by task, variant and head (empty but for ADE20K).
Results = Mapping[tuple[str, str, str], Measured]


def trained(job: Job) -> Results:
    """Return the models trained here, as far as their metrics are there."""
    return _read(job, "evaluate_")


def released(job: Job) -> Results:
    """Return the authors' weights that were measured here."""
    return _read(job, "evaluate_released_")


def official(results: Results) -> Results:
    """Return those measured on the data that the papers used; others say nothing of published numbers."""
    return {key: measured for key, measured in results.items() if measured.official}


def _read(job: Job, prefix: str) -> Results:
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for task in TASKS:
        for names, path in job.aggregated[f"{prefix}{task}.metrics"]:
            key = (task, str(names["variant"]), str(names.get("head", "")))
            found.setdefault(key, []).append(_metrics(path))
    return {key: _joined(runs) for key, runs in found.items()}


def _metrics(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def _joined(runs: list[dict[str, Any]]) -> Measured:
    values = {
        name: [lookup(metrics, metric.key) * metric.factor for metrics in runs]
        for name, metric in METRICS.items()
        if all(lookup(metrics, metric.key) is not None for metrics in runs)
    }
    origins = [metrics["origin"] for metrics in runs]
    return Measured(
        values,
        official=all(origin["official"] for origin in origins),
        commit=_distinct(origin["commit"] for origin in origins),
        data=_distinct(origin["data"] for origin in origins),
    )


def lookup(metrics: Mapping[str, Any], dotted: str) -> Any:
    """Return the value under a dotted key, or None."""
    found: Any = metrics
    for part in dotted.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _distinct(values: Iterable[Any]) -> str:
    return " ".join(dict.fromkeys(str(value) for value in values))
