"""All benchmarks of speed in one run, and the table of them.

    python benchmarks/suite.py [--device cuda] [--only eager] [--rounds 7] [--json reports/benchmarks.json]
        [--guard 0.7]

With `--guard` it exits with 1 if a median is worse than its aim by more than that factor.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path

import attention
import click
import cuda_dense
import cuda_measuring
import cuda_models
import cuda_profile
import cuda_resolution
import dense
import learning
import loading
import pandas as pd
import resolution
import torch
from measuring import Figure

import models
import pipeline

SECTIONS = {
    "eager": models.eager,
    "compiled": models.compiled,
    "resolution": resolution.measure,
    "attention": attention.measure,
    "loading": loading.measure,
    "dense": dense.measure,
    "pipeline": pipeline.measure,
    "learning": learning.measure,
}
#: On a GPU; each is written with the name of the card, since figures of two cards say nothing of each other.
CUDA_SECTIONS = {
    "models": cuda_models.eager,
    "compiled": cuda_models.compiled,
    "scaling": cuda_resolution.measure,
    "updates": cuda_dense.measure,
    "profile": cuda_profile.measure,
}


@click.command()
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--only", multiple=True, metavar="SECTION", help="Leave the device's other sections out.")
@click.option("--rounds", default=7, show_default=True, help="Of each comparison.")
@click.option("--json", "target", default="reports/benchmarks.json", show_default=True, type=Path)
@click.option("--guard", type=click.FloatRange(0, 1), help="Fail below this share of an aim.")
def main(device: str, only: tuple[str, ...], rounds: int, target: Path, guard: float | None) -> None:
    """Measure, write the figures, and print their tables."""
    sections = SECTIONS if device == "cpu" else CUDA_SECTIONS
    if unknown := set(only) - set(sections):
        raise click.BadParameter(
            f"{', '.join(unknown)}: choose from {', '.join(sections)}", param_hint="--only"
        )
    lost = []
    found = json.loads(target.read_text()) if target.exists() else {"sections": {}}
    if device == "cpu":
        found["machine"] = _machine()
    else:
        found.setdefault("gpus", {})[cuda_measuring.card()] = {**_machine(), "cuda": torch.version.cuda}
    for name in only or sections:
        figures = sections[name](rounds)
        title = name if device == "cpu" else f"{name} on {cuda_measuring.card()}"
        found["sections"][title] = [
            {**vars(figure), "median": figure.median, "holds": figure.holds} for figure in figures
        ]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(found, indent=1) + "\n")
        click.echo(f"{_table(figures)}\n")
        lost += [figure.name for figure in figures if guard is not None and figure.is_lost(guard)]
    if lost:
        sys.exit(f"worse than {guard:g} of the aim: {'; '.join(lost)}")


def _machine() -> dict[str, str | int | None]:
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "torch": torch.__version__,
    }


def _table(figures: list[Figure]) -> str:
    rows = {
        figure.name: {
            "median": f"{figure.median:.3g} {figure.unit}".strip(),
            "spread": f"{min(figure.values):.3g}–{max(figure.values):.3g}",
            "aim": _aim(figure),
        }
        for figure in figures
    }
    return pd.DataFrame.from_dict(rows, orient="index").to_markdown()


def _aim(figure: Figure) -> str:
    if figure.aim is None:
        return ""
    sign = "≤" if figure.at_most else "≥"
    return f"{sign} {figure.aim:g}: {'met' if figure.holds else 'missed'}"


if __name__ == "__main__":
    main()
