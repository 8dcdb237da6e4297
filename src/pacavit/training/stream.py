"""The order of samples and every random draw, as functions of (seed, epoch, index) and (seed, step) alone.

Workers and what ran before change nothing, so an interrupted training goes on exactly where it stopped. The samples of
an update do not depend on the number of ranks; what is drawn in a step (drop path, mixup) depends on the rank.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Dataset, Sampler

from pacavit.runtime.seeds import seed_all, seed_sample

# Streams of random numbers that must not coincide for the same seed.
_ORDER, _SAMPLE, _STEP = 1, 2, 3


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed all generators for one training step of one rank: drop path, dropout, mixup, sampled proposals."""
    seed_all(_STEP, seed, step, rank)


class SampleStream(Dataset):
    """An endless stream of samples over a data set with random access.

    Item ``position`` is a sample of epoch ``position // epoch_size``; each epoch is a permutation of its own.

    Args:
        dataset: any data set with ``__len__`` and ``__getitem__(index)``.
        seed: of the order and of the augmentations.
        epoch_size: samples an epoch, at most ``len(dataset)`` (the default); fewer drops the permutation's tail.
    """

    def __init__(self, dataset: Dataset, seed: int, epoch_size: int | None = None) -> None:
        self.dataset = dataset
        self.seed = seed
        self.epoch_size = epoch_size or len(dataset)
        if not 0 < self.epoch_size <= len(dataset):
            raise ValueError(f"an epoch of {self.epoch_size} samples from a data set of {len(dataset)}")
        self._order: tuple[int, np.ndarray] | None = None

    def index(self, position: int) -> int:
        """Return the index in the data set of the sample at ``position``."""
        epoch, offset = divmod(position, self.epoch_size)
        if self._order is None or self._order[0] != epoch:
            generator = np.random.default_rng((_ORDER, self.seed, epoch))
            self._order = (epoch, generator.permutation(len(self.dataset)))
        return int(self._order[1][offset])

    def indices(self, step: int, global_batch: int) -> list[int]:
        """Return the indices in the data set of the samples of one step, of all processes together."""
        return [self.index(position) for position in range(step * global_batch, (step + 1) * global_batch)]

    def __getitem__(self, position: int):
        index = self.index(position)
        seed_sample(_SAMPLE, self.seed, position // self.epoch_size, index)
        return self.dataset[index]


class PositionSampler(Sampler[int]):
    """Positions of a stream from step ``start`` to step ``stop`` for one rank; batches are consecutive positions.

    A global batch is the ``global_batch`` positions from ``step * global_batch``; rank r has every
    ``world_size``-th of them from the r-th on.

    Raises:
        ValueError: the ranks cannot share the global batch evenly.
    """

    def __init__(self, global_batch: int, start: int, stop: int, rank: int = 0, world_size: int = 1) -> None:
        if global_batch % world_size:
            raise ValueError(f"a global batch of {global_batch} cannot be shared by {world_size} processes")
        self.global_batch = global_batch
        self.start = start
        self.stop = stop
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return (self.stop - self.start) * (self.global_batch // self.world_size)

    def __iter__(self) -> Iterator[int]:
        first = self.start * self.global_batch + self.rank
        return iter(range(first, self.stop * self.global_batch, self.world_size))
