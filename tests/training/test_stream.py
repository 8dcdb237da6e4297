"""The order of samples and their random draws depend on (seed, epoch, index) alone."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from pacavit.training.stream import PositionSampler, SampleStream, seed_all, seed_sample, seed_step

#: Positions of two epochs of ten samples.
EPOCHS = range(10), range(10, 20)


class Draws(Dataset):
    """Gives its index and a random number of each generator."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return index, float(np.random.rand()), float(torch.rand(()))


def batches(workers: int, start: int = 0) -> list:
    stream = SampleStream(Draws(), seed=3)
    sampler = PositionSampler(4, start, 7)
    return [
        tuple(b.tolist() for b in batch)
        for batch in DataLoader(stream, 4, sampler=sampler, num_workers=workers)
    ]


def test_each_epoch_is_a_permutation_of_its_own():
    stream = SampleStream(Draws(), seed=0)
    epochs = [[stream.index(10 * epoch + i) for i in range(10)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != [SampleStream(Draws(), seed=1).index(i) for i in range(10)]


def test_an_image_is_augmented_otherwise_in_each_epoch():
    stream = SampleStream(Draws(), seed=3)
    first, second = ({index: draws for index, *draws in map(stream.__getitem__, epoch)} for epoch in EPOCHS)
    assert first.keys() == second.keys()
    assert all(first[index] != second[index] for index in first)


def test_neither_workers_nor_where_one_starts_change_a_draw():
    assert batches(workers=0) == batches(workers=2)
    assert batches(workers=0, start=3) == batches(workers=0)[3:]


def test_ranks_share_each_global_batch():
    whole = list(PositionSampler(6, 2, 5))
    shares = [list(PositionSampler(6, 2, 5, rank, 3)) for rank in range(3)]
    assert sorted(p for share in shares for p in share) == whole == list(range(12, 30))
    for step in range(3):
        assert {p for share in shares for p in share[2 * step : 2 * step + 2]} == set(
            whole[6 * step : 6 * step + 6]
        )
    with pytest.raises(ValueError, match="cannot be shared by 4 processes"):
        PositionSampler(6, 0, 1, 0, 4)


def test_a_step_has_draws_of_its_own():
    draws = []
    for step, rank in ((0, 0), (0, 0), (1, 0), (0, 1)):
        seed_step(5, step, rank)
        draws.append((np.random.rand(), float(torch.rand(()))))
    assert draws[0] == draws[1]
    assert len(set(draws)) == 3


def test_a_sample_seeds_no_device_and_draws_the_same(monkeypatch):
    """Of a device that is not in use, torch would note the seed with a traceback, and keep it."""
    seed_all(1, 2, 3)
    expected = np.random.rand(), float(torch.rand(())), random.random()
    monkeypatch.setattr(torch, "manual_seed", None)
    seed_sample(1, 2, 3)
    assert (np.random.rand(), float(torch.rand(())), random.random()) == expected
    assert SampleStream(Draws(), seed=3)[0]
