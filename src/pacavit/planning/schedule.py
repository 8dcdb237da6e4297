"""When jobs that share some processors and wait for each other are done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pacavit.pipeline import targets
from pacavit.planning.costs import Cost


def wall_hours(costs: Sequence[Cost], processors: int, scale: str, which: int) -> float:
    """Return the hours until the last job ends, if each begins once its inputs are there and processors are free.

    Jobs without processors run beside the others. Of those that could begin, the first in the order of the stages does.

    Args:
        costs: the jobs of a target.
        processors: how many there are.
        scale: of the targets.
        which: 0 for the least hours of each job, 1 for the most.
    """
    ready_at: dict[Path, float] = {}
    free = [0.0] * processors
    end = 0.0
    for cost in costs:
        needed = targets.inputs(cost.stage, scale, cost.names).values()
        start = max([ready_at.get(path, 0.0) for path in needed], default=0.0)
        if cost.processors:
            free.sort()
            start = max(start, free[cost.processors - 1])
            done = start + cost.hours[which]
            free[: cost.processors] = [done] * cost.processors
        else:
            done = start + cost.hours[which]
        for path in targets.outputs(cost.stage, scale, cost.names).values():
            ready_at[path] = done
        end = max(end, done)
    return end
