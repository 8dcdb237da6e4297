"""A plan as a table for people, and as values for programs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from pacavit.errors import PacavitError
from pacavit.params import Params
from pacavit.planning.amounts import Amounts
from pacavit.planning.costs import Cost, Counts, Machine, costs
from pacavit.planning.schedule import wall_hours


def summary(found: Sequence[Cost], machine: Machine, scale: str, target: str) -> dict[str, Any]:
    """Return the plan as JSON types: a row a stage, and the whole."""
    by_stage: dict[str, list[Cost]] = defaultdict(list)
    for cost in found:
        by_stage[cost.stage].append(cost)
    rows = [
        {
            "stage": stage,
            "jobs": len(alike),
            "processor_hours": [sum(c.processor_hours[i] for c in alike) for i in (0, 1)],
            "longest_hours": max(c.hours[1] for c in alike),
            "memory": [max(c.memory[i] for c in alike) for i in (0, 1)],
            "host_memory": max(c.host_memory for c in alike),
            "disk": sum(c.disk for c in alike),
            "from": alike[0].source,
        }
        for stage, alike in by_stage.items()
    ]
    return {
        "scale": scale,
        "target": target,
        "processor": machine.name,
        "processors": machine.count,
        "jobs": len(found),
        "processor_hours": [sum(c.processor_hours[i] for c in found) for i in (0, 1)],
        "wall_hours": [wall_hours(found, machine.count, scale, i) for i in (0, 1)],
        "disk": sum(c.disk for c in found),
        "memory": [max((c.memory[i] for c in found), default=0.0) for i in (0, 1)],
        "host_memory": max((c.host_memory for c in found), default=0.0),
        "memory_there": machine.processor.gigabytes,
        "stages": rows,
    }


def as_markdown(plan: dict[str, Any]) -> str:
    """Return a plan as a Markdown table, which reads well in a terminal too."""
    header = ["stage", "jobs", f"{plan['processor']} hours", "longest job / h", "memory / GB", "disk / GB"]
    rows = [
        [
            row["stage"],
            str(row["jobs"]),
            _range(row["processor_hours"]),
            _short(row["longest_hours"]),
            _range(row["memory"]),
            _short(row["disk"]),
        ]
        for row in plan["stages"]
    ]
    total = [
        "all",
        str(plan["jobs"]),
        _range(plan["processor_hours"]),
        "",
        _range(plan["memory"]),
        _short(plan["disk"]),
    ]
    table = [header, *rows, total]
    widths = [max(len(line[i]) for line in table) for i in range(len(header))]
    lines = ["| " + " | ".join(_aligned(line, widths)) + " |" for line in table]
    rule = (
        "|" + "|".join("-" * (width + 1) + ("-" if i == 0 else ":") for i, width in enumerate(widths)) + "|"
    )
    return "\n".join([lines[0], rule, *lines[1:]])


def headline(plan: dict[str, Any]) -> str:
    """Return a plan in one sentence."""
    return (
        f"`{plan['target']}` at scale `{plan['scale']}` on {plan['processors']} × {plan['processor']}: "
        f"{plan['jobs']} jobs, "
        f"{_range(plan['processor_hours'])} processor hours, {_range(plan['wall_hours'])} hours by the clock, "
        f"{_short(plan['disk'])} GB of disk, up to {_short(plan['host_memory'])} GB of host memory"
    )


def sources(plan: dict[str, Any]) -> str:
    """Return where the time of each stage comes from, with its first job for an example."""
    return "\n".join(f"{row['stage']}: {row['from']}" for row in plan["stages"])


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.ljust(width) if i == 0 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]


def _short(value: float) -> str:
    if value == 0:
        return "–"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _range(values: Sequence[float]) -> str:
    low, high = _short(values[0]), _short(values[1])
    return low if low == high else f"{low} to {high}"


def plan_for(
    given: Params,
    scale: str,
    target: str,
    name: str | None = None,
    count: int | None = None,
    counted: Counts | None = None,
    data: Amounts | None = None,
) -> dict[str, Any]:
    """Return the plan of a target.

    Args:
        given: parameters of the scale.
        scale: folder below ``params/``.
        target: as of :func:`pacavit.pipeline.targets.jobs`.
        name: of a processor on the page ``plan``; the page's own without one.
        count: how many of it, likewise.
        counted: what the stage ``complexity`` has counted already.
        data: how much the data are, as of :func:`~pacavit.planning.costs.costs`.

    Raises:
        PacavitError: no such scale, target or processor.
    """
    page = given.plan
    name = name or page.processor
    if name not in page.processors:
        raise PacavitError(
            f"processor {name!r}: params/{scale}/plan.yaml has {', '.join(page.processors)}; choose one, or add it "
            "there"
        )
    machine = Machine(name, page.processors[name], count or page.count)
    return summary(costs(scale, given, target, machine, counted or {}, data), machine, scale, target)
