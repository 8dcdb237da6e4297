"""The stage ``overview``: figures and tables over all models, as the paper has them.

They come from the ledger, the counted complexity and the committed benchmarks, which alone hold times and memory.

Figures are PNG and SVG. Tables are HTML, Markdown and LaTeX, with published value, measured one, difference, verdict.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, NullLocator

from pacavit.claims import ledger
from pacavit.claims.ledger import Entry
from pacavit.drawing.style import COLOURS, figure
from pacavit.figures import module
from pacavit.files import atomic_file
from pacavit.job import Job
from pacavit.tasks import TASKS

#: Families in figures with their markers.
_FAMILIES = {"PaCa": "o", "PaCa with UPerNet": "D", "Swin": "s", "PVTv2": "^", "PVT": "v"}
#: Kinds of attention, as the benchmarks name them: key of the counted operations, label, marker, and line.
ATTENTION = {
    "vanilla": ("clusters_0", "vanilla", "o", "-"),
    "spatial reduction": ("reduced_8", "spatial reduction, R = 8", "^", "--"),
    "patch to cluster": ("clusters_100", "patch to cluster, M = 100", "s", "-."),
}


def write(job: Job) -> None:
    """Draw the figures and write the tables."""
    entries = ledger.read(job.inputs["ledger"])
    _draw_accuracy(_forms(job, "accuracy"), entries)
    _draw_ablations(_forms(job, "ablations"), entries)
    complexity = json.loads(job.inputs["complexity"].read_text())["attention"]
    benchmarks = json.loads(job.inputs["benchmarks"].read_text())["sections"]["attention"]
    _draw_complexity(_forms(job, "complexity"), complexity, benchmarks)
    with figure(_forms(job, "module"), 9.5, 5.2) as canvas:
        module.draw(canvas)
    for task in TASKS:
        _write_table(job, task, tabulate([entry for entry in entries if entry.task == task]))
    for path in job.outputs.values():
        job.run.artifact(path)


def tabulate(entries: Sequence[Entry]) -> pd.DataFrame:
    """Return a row a published number: model, setting, metric, published, measured, difference, verdict.

    Of what was counted the measured value is that of the authors' own way of counting, as the verdict is.
    """
    rows = [
        {
            "model": f"{entry.model}{f', {entry.head}' if entry.head else ''}",
            "setting": entry.setting,
            "metric": entry.metric + (f" / {entry.unit}" if entry.unit else ""),
            "published": entry.published,
            "measured": entry.measured or "—",
            "difference": ledger.difference(entry),
            "verdict": entry.verdict,
        }
        for entry in entries
        if entry.metric != "statement"
    ]
    return pd.DataFrame(rows)


def _forms(job: Job, name: str) -> list[Path]:
    return [job.outputs[f"{name}_{form}"] for form in ("png", "svg")]


def _write_table(job: Job, task: str, table: pd.DataFrame) -> None:
    forms = {
        "html": table.to_html(index=False, border=0, justify="left"),
        "md": table.to_markdown(index=False, disable_numparse=True),
        "tex": table.to_latex(index=False, escape=True, longtable=True),
    }
    for form, text in forms.items():
        with atomic_file(job.outputs[f"{task}_{form}"]) as temporary:
            temporary.write_text(text.rstrip() + "\n", encoding="utf-8")


def _values(entries: Sequence[Entry], task: str, metric: str) -> dict[tuple[str, str, str], Entry]:
    """Return the entries of a metric by variant, head and model, the first of each."""
    found: dict[tuple[str, str, str], Entry] = {}
    for entry in entries:
        if entry.task == task and entry.metric == metric:
            found.setdefault((entry.variant, entry.head, entry.model), entry)
    return found


def _draw_accuracy(paths: list[Path], entries: Sequence[Entry]) -> None:
    """Draw each task's accuracy against parameters and multiply-adds: published hollow, measured filled."""
    with figure(paths, 9.5, 9.6) as canvas:
        axes = canvas.subplots(len(TASKS), 2)
        for row, task in zip(axes, TASKS, strict=True):
            ranked = TASKS[task].metrics[0]
            accuracy = _values(entries, task, ranked.published)
            for axis, count, unit in zip(
                row, ("parameters", "multiply_adds"), ("parameters / M", "multiply-adds / G"), strict=True
            ):
                sizes = _values(entries, task, count)
                points = [(sizes[key], entry) for key, entry in accuracy.items() if key in sizes]
                _scatter(axis, points)
                axis.set(xlabel=unit, ylabel=ranked.published_title, title=task, xscale="log")
                _plain_ticks(axis.xaxis)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)


def _family(entry: Entry) -> str:
    if entry.model.startswith("PaCa"):
        return "PaCa with UPerNet" if entry.head == "upernet" else "PaCa"
    return entry.model.partition("-")[0]


def _scatter(axis: Axes, points: list[tuple[Entry, Entry]]) -> None:
    """Draw pairs of a size and an accuracy by family; empty series stand in every legend alike."""
    for (family, marker), colour in zip(_FAMILIES.items(), COLOURS, strict=False):
        own = [(size, entry) for size, entry in points if _family(entry) == family]
        style = {"marker": marker, "linestyle": "", "color": colour, "markersize": 6}
        published = [(float(size.published), float(entry.published)) for size, entry in own]
        axis.plot(*_columns(published), markerfacecolor="none", label=f"{family}, published", **style)
        measured = [(float(size.published), float(entry.measured)) for size, entry in own if entry.measured]
        if family.startswith("PaCa"):
            axis.plot(*_columns(measured), label=f"{family}, measured", **style)


def _plain_ticks(axis: Axis) -> None:
    """Mark 1, 2 and 5 of each decade of a logarithmic axis, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def _columns(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _draw_ablations(paths: list[Path], entries: Sequence[Entry]) -> None:
    """Draw what clusters, their number, kind and mode change: each variant of the small model, by task."""
    with figure(paths, 9.5, 4.4) as canvas:
        axes = canvas.subplots(1, len(TASKS), sharey=True)
        names: dict[str, str] = {}
        for task in TASKS:
            for entry in _values(entries, task, TASKS[task].metrics[0].published).values():
                if _is_ablation(entry):
                    names.setdefault(entry.variant, _described(entry.variant))
        places = {variant: place for place, variant in enumerate(names)}
        for axis, task in zip(axes, TASKS, strict=True):
            ranked = TASKS[task].metrics[0]
            chosen = {
                e.variant: e for e in _values(entries, task, ranked.published).values() if _is_ablation(e)
            }
            published = [(float(e.published), places[variant]) for variant, e in chosen.items()]
            axis.plot(*_columns(published), "o", markerfacecolor="none", label="published")
            measured = [(float(e.measured), places[variant]) for variant, e in chosen.items() if e.measured]
            axis.plot(*_columns(measured), "s", color=COLOURS[1], label="measured")
            axis.set(xlabel=ranked.published_title, title=task)
        axes[0].set_yticks(range(len(names)), list(names.values()))
        axes[0].invert_yaxis()
        axes[0].legend(frameon=False, loc="lower left")


def _is_ablation(entry: Entry) -> bool:
    small = entry.variant.startswith(("pacavit_small", "pacavit_convmixer_small"))
    return small and entry.head in ("", "paca")


def _described(variant: str) -> str:
    """Return a variant of the small model in words: numbers of clusters by stage, kind, and mode."""
    from pacavit.models import variant_config

    config = variant_config(variant)
    clusters = ", ".join(map(str, config["num_clusters"]))
    kind = "teacher" if config.get("teacher_depths") else config.get("clustering", "conv")
    mode = ", block-wise" if config.get("clustering_mode") == "block" else ""
    return f"{kind} ({clusters}){mode}"


def _draw_complexity(paths: list[Path], counted: dict[str, Any], benchmarks: list[dict[str, Any]]) -> None:
    """Draw operations, time and memory of one attention layer against the number of patches, by kind."""
    with figure(paths, 9.5, 3.4) as canvas:
        operations, time, memory = canvas.subplots(1, 3)
        for (kind, (key, label, marker, line)), colour in zip(ATTENTION.items(), COLOURS, strict=False):
            style = {"marker": marker, "linestyle": line, "color": colour, "label": label, "markersize": 4}
            operations.plot(counted["patches"], [value / 1e9 for value in counted[key]], **style)
            for axis, what in ((time, "seconds"), (memory, "megabytes")):
                axis.plot(*_measured(benchmarks, kind, what), **style)
        operations.set(ylabel="multiply-adds / G", title="Operations, counted")
        time.set(ylabel="time / s", title="Time, measured on a CPU")
        memory.set(ylabel="peak memory over the input / MB", title="Memory, measured on a CPU")
        for axis in (operations, time, memory):
            axis.set(xlabel="patches", xscale="log", yscale="log")
            _plain_ticks(axis.xaxis)
            _plain_ticks(axis.yaxis)
        operations.legend(frameon=False, fontsize=7)


def _measured(benchmarks: list[dict[str, Any]], kind: str, what: str) -> tuple[list[int], list[float]]:
    """Return numbers of patches of four pixels a side, and medians of a quantity."""
    points = []
    for found in benchmarks:
        name, size, quantity = found["name"].split(", ")
        if (name, quantity) == (kind, what):
            points.append(((int(size.removesuffix("²")) // 4) ** 2, found["median"]))
    points.sort()
    return [patches for patches, _ in points], [value for _, value in points]
