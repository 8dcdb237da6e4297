"""The table of stages for people: all of it, or one stage with everything filled in."""

from __future__ import annotations

from difflib import get_close_matches

from tabulate import tabulate

from pacavit import params
from pacavit.errors import PacavitError
from pacavit.pipeline import code, models, sources
from pacavit.pipeline.table import STAGES
from pacavit.pipeline.targets import aggregated, command, inputs, name, outputs, targets


def overview(scale: str) -> str:
    """Return a line a stage: its jobs at a scale, and what it reads of others."""
    given = params.load(scale)
    rows = [
        (stage, len(targets(stage, given.targets)), " ".join((*spec.inputs.values(), *spec.aggregates)))
        for stage, spec in STAGES.items()
    ]
    return tabulate(rows, headers=("stage", "jobs", "reads"), maxcolwidths=[None, None, 90])


def one(stage: str, scale: str) -> str:
    """Return what a stage runs, reads, writes and depends on, for its first job at a scale.

    Raises:
        PacavitError: no such stage.
    """
    if stage not in STAGES:
        near = get_close_matches(stage, STAGES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(STAGES)}"
        raise PacavitError(f"stage {stage!r}: unknown; {hint}")
    spec = STAGES[stage]
    given = params.load(scale)
    wanted = targets(stage, given.targets)
    names = wanted[0] if wanted else {wildcard: f"{{{wildcard}}}" for wildcard in spec.wildcards}
    read = [(f"{key} ({spec.inputs[key]})", path) for key, path in inputs(stage, scale, names).items()]
    for text, files in aggregated(stage, scale, given.targets).items():
        read += [(text, path) for _, path in files]
    if wanted:
        yours = [*sources.files_of(stage, given, names), *models.sources(given, stage, names)]
        read += [("yours", path) for path in yours]
    parts = {
        "command": [command(stage, scale, **names)],
        "function": [spec.function],
        "jobs": [name(stage, each) for each in wanted],
        "reads": [f"{path}  {key}" for key, path in read],
        "writes": [f"{path}  {key}" for key, path in outputs(stage, scale, names).items()],
        "parameters": [
            f"params/{_page(key.format(**names), scale)}" for key in models.parameters(given, stage, names)
        ],
        "code": [code.digest(spec), *code.modules(spec)],
        "threads": [str(spec.threads)],
        "memory": [f"{spec.mem_mb} MB"],
    }
    return "\n".join(
        f"{part}\n" + "\n".join(f"    {line}" for line in lines) for part, lines in parts.items()
    )


def _page(key: str, scale: str) -> str:
    page, _, dotted = key.partition(":")
    page = page if "/" in page else f"{scale}/{page}"
    return f"{page}.yaml: {dotted or 'all of it'}"
