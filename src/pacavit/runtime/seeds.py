"""Seeding the generators of random numbers of all libraries at once."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_all(*entropy: int) -> None:
    """Seed Python's, NumPy's and torch's generators, of all devices, from a tuple of non-negative integers."""
    torch.manual_seed(_seed_python(entropy))


def seed_sample(*entropy: int) -> None:
    """Do the same, but leave generators of devices alone, which no augmentation asks.

    For a device that is not in use, as in a loading process, torch notes each seed with a traceback and keeps it.
    """
    torch.default_generator.manual_seed(_seed_python(entropy))


def _seed_python(entropy: tuple[int, ...]) -> int:
    """Seed Python's and NumPy's generators; return the seed that is torch's."""
    words = np.random.SeedSequence(entropy).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    return int(words[2])
