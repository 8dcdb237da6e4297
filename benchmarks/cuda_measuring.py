"""Time and memory on a GPU.

``PACAVIT_TEST_DEVICE=cpu`` tries the benchmarks themselves on a processor, at sizes that it can take; their figures
then mean nothing.
"""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Callable

import torch

#: A measurement repeats its call until it takes this long, s.
LEAST_SECONDS = 0.1
#: Side of the product that stands for what the GPU can do.
PRODUCT = 8192


def rehearsal() -> bool:
    """Return whether a processor stands in for the GPU."""
    return os.environ.get("PACAVIT_TEST_DEVICE") == "cpu"


def device() -> torch.device:
    """Return what is measured.

    Raises:
        SystemExit: there is no GPU.
    """
    if rehearsal():
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device to measure")
    return torch.device("cuda")


def card() -> str:
    """Return the name of the GPU."""
    return "rehearsal" if rehearsal() else torch.cuda.get_device_name()


def wait() -> None:
    """Wait until the GPU has done what it was given."""
    if not rehearsal():
        torch.cuda.synchronize()


def forget() -> None:
    """Give memory that nothing holds back to the GPU, for other processes and for a new peak."""
    gc.collect()
    if not rehearsal():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def seconds(call: Callable[[], object]) -> float:
    """Return what a call takes, after one that does not count, as the mean of many in a row."""
    call()
    once = _in_a_row(call, 1)
    return once if rehearsal() else _in_a_row(call, math.ceil(LEAST_SECONDS / once))


def _in_a_row(call: Callable[[], object], repeats: int) -> float:
    wait()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    wait()
    return (time.perf_counter() - start) / repeats


def megabytes() -> float:
    """Return the most memory that tensors had since :func:`forget`, in MB."""
    return math.nan if rehearsal() else torch.cuda.max_memory_allocated() / 1e6


def held_megabytes() -> float:
    """Return the memory that tensors have now, in MB."""
    return math.nan if rehearsal() else torch.cuda.memory_allocated() / 1e6


def product_rate() -> float:
    """Return the operations a second of a large product in bf16, two a multiply-add."""
    side = 256 if rehearsal() else PRODUCT
    left, right = (torch.randn(side, side, device=device(), dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / seconds(lambda: left @ right)


def copy_rate() -> float:
    """Return the bytes a second, read and written, of a large copy within the GPU's memory."""
    source = torch.empty(
        (1 << 20) if rehearsal() else (1 << 30), device=device(), dtype=torch.uint8
    ).random_()
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds(lambda: target.copy_(source))
