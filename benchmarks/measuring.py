"""What all benchmarks share: calls timed in turn within one run, and the figures that come of it.

Machines differ and are shared, so that a figure is a ratio of what was measured in the same round wherever it can be.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A measured quantity.

    Attributes:
        name: what was measured, and of what.
        values: one a round.
        unit: of the values; ``×`` for ratios.
        aim: the least that is wanted, or the most if ``at_most``; None for a figure that only informs.
    """

    name: str
    values: list[float]
    unit: str = "×"
    aim: float | None = None
    at_most: bool = False

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def holds(self) -> bool | None:
        """Whether the median is within the aim; None without one."""
        if self.aim is None:
            return None
        return self.median <= self.aim if self.at_most else self.median >= self.aim

    def is_lost(self, share: float) -> bool:
        """Return whether the median is beyond the aim by more than noise explains: below this share of it."""
        if self.aim is None:
            return False
        return self.median > self.aim / share if self.at_most else self.median < self.aim * share


def seconds(call: Callable[[], object], repeats: int = 1) -> float:
    """Return what a call takes, in seconds by the clock."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def in_turn(calls: dict[str, Callable[[], object]], rounds: int, repeats: int = 1) -> dict[str, list[float]]:
    """Time each call once a round, in a new order every round, after one call that does not count."""
    for call in calls.values():
        call()
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name in random.sample(list(calls), len(calls)):
            found[name].append(seconds(calls[name], repeats))
    return found


def ratios(times: dict[str, list[float]], fast: str, slow: str) -> list[float]:
    """Return how many times faster one call was than another, round by round."""
    return [other / own for own, other in zip(times[fast], times[slow], strict=True)]
