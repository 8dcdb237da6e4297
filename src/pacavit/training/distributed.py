"""Ranks of a training that several processes share, as ``torchrun`` sets them, and their start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pacavit.errors import PacavitError

if TYPE_CHECKING:
    import torch

#: Forces the number of processes, on a machine without GPUs too.
PROCESSES = "PACAVIT_PROCESSES"


def rank() -> int:
    """Return this process's number among all of the training."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Return whether this is the process that writes files and reports progress."""
    return rank() == 0


def gather(value: Any) -> list[Any]:
    """Return the values of all processes, by rank, in the main one and nothing in the others."""
    if world_size() == 1:
        return [value]
    from torch import distributed

    values: list[Any] | None = [None] * world_size() if is_main() else None
    distributed.gather_object(value, values)
    return values or []


def launch(arguments: Sequence[str]) -> int | None:
    """Run a ``pacavit`` command line again under ``torchrun``, one process a GPU, if there are several.

    Returns:
        The exit code of that run, or None where this process is to do the work itself.

    Raises:
        PacavitError: :data:`PROCESSES` is not a positive number.
    """
    if "RANK" in os.environ:
        return None
    processes = _processes()
    if processes == 1:
        return None
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={processes}",
    ]
    return subprocess.run([*torchrun, "-m", "pacavit", *arguments], check=False).returncode


@contextmanager
def process_group() -> Iterator[torch.device]:
    """Join the other processes, if any, and give this one's device."""
    import torch
    from torch import distributed

    local = int(os.environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if world_size() == 1:
        yield device
        return
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield device
    finally:
        distributed.destroy_process_group()


def mean_over_ranks(value: float, device: torch.device) -> float:
    """Return the mean of a number over all processes, which all have to call this."""
    import torch
    from torch import distributed

    if world_size() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return float(total) / world_size()


def _processes() -> int:
    asked = os.environ.get(PROCESSES)
    if asked is None:
        import torch

        return max(1, torch.cuda.device_count())
    if not asked.isdecimal() or int(asked) < 1:
        raise PacavitError(f"{PROCESSES}={asked}: expected a number of processes, 1 or more")
    return int(asked)
