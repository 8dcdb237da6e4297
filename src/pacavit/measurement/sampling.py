"""Which images of a data set are shown."""

from __future__ import annotations

import itertools

import numpy as np


def spread(total: int, count: int, seed: int = 0) -> list[int]:
    """Return the numbers of ``count`` of ``total`` images, at most all, one drawn from each of equal parts in order.

    The first ones would be of one class or one scene where a data set is in their order.
    """
    count = min(count, total)
    bounds = np.linspace(0, total, count + 1).astype(int)
    random = np.random.default_rng(seed)
    return [int(random.integers(low, high)) for low, high in itertools.pairwise(bounds)]
