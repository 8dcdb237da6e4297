"""The page over everything that was measured: one HTML file that opens from disk."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Mapping
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from pacavit import paths, stages
from pacavit.claims import ledger
from pacavit.files import atomic_file
from pacavit.stages import DATASETS, Job

#: For each task: its heading, and its main metrics by label and dotted key, with the number of decimals.
TASKS = {
    "imagenet": ("Classification (ImageNet layout)", {"top-1 / %": ("top1", 2), "top-5 / %": ("top5", 2)}),
    "coco": (
        "Detection and instance segmentation (COCO layout)",
        {"box AP": ("bbox.AP", 3), "mask AP": ("segm.AP", 3)},
    ),
    "ade20k": (
        "Semantic segmentation (ADE20K layout)",
        {"mIoU": ("mIoU", 3), "mAcc": ("mAcc", 3), "aAcc": ("aAcc", 3)},
    ),
}

#: What the figures of a model show, in the order of the page.
CAPTIONS = {
    "curve": "Training loss and learning rate (left), validation metrics and the untrained model's level (right).",
    "predictions": "Predictions on the first validation images, beside the labels.",
    "clusters": "Which cluster each patch belongs to most, in each stage, and the most used clusters as heat maps.",
}


def write(job: Job) -> None:
    """Write the page from the metrics files and figures of every target."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = resources("pacavit.figures").joinpath("report.html").read_text()
    page = environment.from_string(template).render(
        title=job.params.figures.report.title,
        scale=job.scale,
        tasks=[_task(job, name) for name in DATASETS],
        ledger=_ledger(job),
    )
    with atomic_file(job.outputs["page"]) as temporary:
        temporary.write_text(page)
    job.run.artifact(job.outputs["page"])


def _ledger(job: Job) -> dict[str, Any]:
    """Return the ledger's verdicts, and its lines by task."""
    entries = ledger.read(paths.path(paths.LEDGER, scale=job.scale))
    lines: dict[str, list[ledger.Entry]] = {}
    for entry in entries:
        lines.setdefault(entry.task, []).append(entry)
    return {"verdicts": ledger.VERDICTS, "summary": ledger.summary(entries), "lines": lines}


def _task(job: Job, dataset: str) -> dict[str, Any]:
    heading, metrics = TASKS[dataset]
    models = [
        _model(job, dataset, names, metrics)
        for names in stages.targets(f"evaluate_{dataset}", job.params.targets)
        if _is_complete(job, dataset, names)
    ]
    with open(paths.path(paths.TABLE, scale=job.scale, dataset=dataset, form="csv"), newline="") as file:
        table = list(csv.DictReader(file))
    return {"name": dataset, "heading": heading, "models": models, "table": table}


def _is_complete(job: Job, dataset: str, names: Mapping[str, Any]) -> bool:
    """Return whether a model was measured and drawn; a part of the targets may be reported on."""
    made = [stages.written(f"{kind}_{dataset}", job.scale, names) for kind in ("evaluate", "figures")]
    return all(Path(path).exists() for paths_of_stage in made for path in paths_of_stage)


def _model(
    job: Job, dataset: str, names: Mapping[str, Any], metrics: Mapping[str, tuple[str, int]]
) -> dict[str, Any]:
    def written(stage: str, output: str) -> Path:
        return paths.path(stages.STAGES[stage].outputs[output], scale=job.scale, **names)

    measured = json.loads(written(f"evaluate_{dataset}", "metrics").read_text())
    command = paths.fill(stages.command(f"figures_{dataset}"), scale=job.scale, **names)
    return {
        "name": ", ".join(f"{key} {value}" if key == "seed" else str(value) for key, value in names.items()),
        "rows": [
            (label, _number(measured, key, decimals), _number(measured.get("untrained", {}), key, decimals))
            for label, (key, decimals) in metrics.items()
        ],
        "details": list(_details(measured)),
        "origin": measured["origin"],
        "figures": [
            {
                "name": figure,
                "caption": caption,
                "command": command,
                "data": _data_uri(written(f"figures_{dataset}", figure)),
            }
            for figure, caption in CAPTIONS.items()
        ],
    }


def _details(measured: Mapping[str, Any], prefix: str = "") -> Any:
    """Give every number of a metrics file by its dotted key."""
    for name, value in measured.items():
        if isinstance(value, Mapping) and name not in ("origin", "untrained"):
            yield from _details(value, f"{prefix}{name}.")
        elif value is None or isinstance(value, (int, float)):
            yield f"{prefix}{name}", "—" if value is None else f"{value:.4g}"


def _number(values: Mapping[str, Any], key: str, decimals: int) -> str:
    found: Any = values
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return "—" if found is None else f"{found:.{decimals}f}"


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
