"""The page over everything that was measured: one HTML file that opens from disk, with previews of the figures."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from PIL import Image

from pacavit.claims import ledger
from pacavit.claims.results import lookup
from pacavit.figures import dag, pages
from pacavit.interpretation.measures import between_seeds
from pacavit.job import Job
from pacavit.pipeline import targets
from pacavit.pipeline.table import FIGURES, PLAIN_FIGURES, STAGES, Names
from pacavit.tasks import TASKS, Metric, Task

#: Width and height of a figure on the page at most, pixels; WebP has no more than 16,383.
_LARGEST = (1600, 16000)

#: What the figures over all models show.
OVERVIEW_CAPTIONS = {
    "accuracy": "Accuracy against parameters and multiply-adds: hollow if published, filled if measured here.",
    "ablations": "The small model with other clusters: number by stage, kind of clustering, and by stage or by block.",
    "complexity": "One attention layer, of the tiny model's first stage, by number of patches: operations as counted, "
    "time and peak memory as the benchmarks measured them. Torch's fused kernels never hold the vanilla N × N map.",
    "module": "Patch-to-cluster attention beside vanilla and spatial-reduction attention.",
}


def write(job: Job) -> None:
    """Write the page from the metrics files and figures of every target."""
    wanted = job.params.targets
    counts = {stage: len(targets.targets(stage, wanted)) for stage in STAGES}
    pages.write(
        job.outputs["page"],
        "report.html",
        title=job.params.figures.report.title,
        scale=job.scale,
        shared=_shared(job),
        tasks=[_task(job, task) for task in TASKS.values()],
        ledger=_ledger(job),
        overview=_overview(job),
        measures=_measures(job),
        dag=dag.draw(counts),
    )
    job.run.artifact(job.outputs["page"])


def _shared(job: Job) -> str:
    """Return what the preparations found of validation images that are training images as well."""
    found = {}
    for task in TASKS.values():
        for _, path in job.aggregated[f"evaluate_{task.name}.metrics"]:
            measured = json.loads(path.read_text())
            found[task.name] = measured["origin"].get("shared"), measured.get("images")
    said = [
        f"{shared:,} of the {images:,} of {name} are training images as well, so its numbers are too good"
        for name, (shared, images) in found.items()
        if shared
    ]
    if said:
        return f"By their content, {'; '.join(said)}."
    known = found and all(shared is not None for shared, _ in found.values())
    return "By its content, none of these is a training image as well." if known else ""


def _ledger(job: Job) -> dict[str, Any]:
    """Return the ledger's verdicts, its lines with the differences, and what these can be filtered by."""
    entries = ledger.read(job.inputs["ledger"])
    return {
        "verdicts": ledger.VERDICTS,
        "summary": ledger.summary(entries),
        "entries": [(entry, ledger.difference(entry)) for entry in entries],
        "tasks": sorted({entry.task for entry in entries}),
        "metrics": sorted({entry.metric for entry in entries}),
    }


def _overview(job: Job) -> list[dict[str, str]]:
    """Return the figures over all models."""
    command = targets.command("overview", job.scale)
    return [
        {"name": name, "caption": caption, "command": command, **_shown(job, job.inputs[name])}
        for name, caption in OVERVIEW_CAPTIONS.items()
    ]


def _measures(job: Job) -> list[dict[str, Any]]:
    """Return a row a stage of each segmentor: how its clusters agree with labels, and how stable they are."""
    rows = []
    kept: dict[tuple[str, str], list[list[dict[str, str]]]] = {}
    for names, path in job.aggregated["clusters.measures"]:
        measured = json.loads(path.read_text())
        kept.setdefault((names["variant"], names["head"]), []).append(measured["kept"])
        for stage, values in sorted(
            measured["stages"].items(), key=lambda item: (item[0] == "head", item[0])
        ):
            rows.append(
                {"names": names, "model": ", ".join(map(str, names.values())), "stage": stage, **values}
            )
    for row in rows:
        maps = kept[row["names"]["variant"], row["names"]["head"]]
        row["seeds"] = between_seeds([[image[row["stage"]] for image in seed] for seed in maps])
    return rows


def _task(job: Job, task: Task) -> dict[str, Any]:
    outputs = {
        "metrics": f"evaluate_{task.name}.metrics",
        "history": f"{task.training}.curve",
        **{name: f"figures_{task.name}.{name}" for name in (*FIGURES, "view")},
    }
    plain = {name: f"figures_plain_{task.name}.{name}" for name in PLAIN_FIGURES}
    found: dict[tuple[str | int, ...], dict[str, Path]] = {}
    wildcards: dict[tuple[str | int, ...], Names] = {}
    for key, text in (*outputs.items(), *plain.items()):
        for names, path in job.aggregated[text]:
            found.setdefault(tuple(names.values()), {})[key] = path
            wildcards[tuple(names.values())] = names
    # A part of the targets may be reported on.
    complete = (outputs.keys(), {"metrics", "history", *plain})
    models = [
        _model(job, task, wildcards[model], files)
        for model, files in found.items()
        if files.keys() in complete
    ]
    with open(job.inputs[f"{task.name}_table"], newline="") as file:
        table = list(csv.DictReader(file))
    return {"name": task.name, "heading": task.heading, "models": models, "table": table}


def _model(
    job: Job,
    task: Task,
    names: Names,
    files: Mapping[str, Path],
) -> dict[str, Any]:
    measured = json.loads(files["metrics"].read_text())
    command = targets.command(f"figures_{task.name}", job.scale, **names)
    clickable = "view" in files and names["variant"] in job.params.figures.report.clickable
    return {
        "id": "-".join([task.name, *map(str, names.values())]),
        "name": ", ".join(f"{key} {value}" if key == "seed" else str(value) for key, value in names.items()),
        "curves": _curves(files["history"], task),
        "view": json.loads(files["view"].read_text()) if clickable else None,
        "rows": [
            (metric.title, _number(measured, metric), _number(measured.get("untrained", {}), metric))
            for metric in task.main
        ],
        "details": list(_details(measured)),
        "origin": _origin(measured["origin"]),
        "figures": [
            {
                "name": figure,
                "caption": job.inputs[f"{figure}_caption"].read_text().strip(),
                "command": command,
                **_shown(job, files[figure]),
            }
            for figure in FIGURES
            if figure in files
        ],
    }


def _origin(origin: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a metrics file says of its numbers, and how MLflow finds the run."""
    fingerprint = origin["fingerprint"]
    return {
        **dict(sorted(origin.items())),
        "parameters": json.dumps(origin["parameters"], sort_keys=True),
        "MLflow run": f"tags.`pacavit.fingerprint` = '{fingerprint}'",
    }


def _curves(path: Path, task: Task) -> list[dict[str, Any]]:
    """Return the training loss, and the validation metrics, of a learning curve."""
    table = pd.read_csv(path)
    parts = {
        "Training loss": ("loss", [c for c in table if c == "train_loss"]),
        "Validation": (
            "accuracy / %" if task.metrics[0].factor == 1 else "share (0 to 1)",
            [metric.column for metric in task.main if metric.column in table],
        ),
    }
    curves = [_curve(table, title, unit, columns) for title, (unit, columns) in parts.items() if columns]
    return [curve for curve in curves if curve["steps"]]


def _curve(table: pd.DataFrame, title: str, unit: str, columns: list[str]) -> dict[str, Any]:
    known = table.dropna(subset=columns, how="all")
    lines = [
        {
            "name": column.removeprefix("val_").replace("_", " "),
            "values": [float(f"{value:.5g}") if math.isfinite(value) else None for value in known[column]],
        }
        for column in columns
    ]
    return {"title": title, "unit": unit, "steps": known["step"].tolist(), "lines": lines}


def _details(measured: Mapping[str, Any], prefix: str = "") -> Any:
    """Give every number of a metrics file by its dotted key."""
    for name, value in measured.items():
        if isinstance(value, Mapping) and name not in ("origin", "untrained"):
            yield from _details(value, f"{prefix}{name}.")
        elif value is None or isinstance(value, (int, float)):
            yield f"{prefix}{name}", "—" if value is None else f"{value:.4g}"


def _number(values: Mapping[str, Any], metric: Metric) -> str:
    found = lookup(values, metric.key)
    return "—" if found is None else f"{found:.{metric.decimals}f}"


def _shown(job: Job, path: Path) -> dict[str, str]:
    """Return a figure for the page: a preview in it, and a link to the file."""
    link = os.path.relpath(path, job.outputs["page"].parent)
    return {"data": _preview(path), "link": quote(Path(link).as_posix())}


def _preview(path: Path) -> str:
    """Return an image as WebP in a data URI, without loss where that is smaller, as of lines and text."""
    image = Image.open(path).convert("RGB")
    image.thumbnail(_LARGEST)
    forms = []
    for options in ({"quality": 80}, {"lossless": True}):
        file = io.BytesIO()
        image.save(file, "WEBP", method=4, **options)
        forms.append(file.getvalue())
    return "data:image/webp;base64," + base64.b64encode(min(forms, key=len)).decode()
