"""Where the time of tiny and of Swin-T goes on a GPU, by kind of kernel and by kernel."""

from __future__ import annotations

import re
from collections import defaultdict

import pandas as pd
import torch
from cuda_measuring import device, rehearsal, wait
from cuda_models import SWIN, TINY, create, inference, training_step
from measuring import Figure
from torch.profiler import ProfilerActivity, profile

#: The first that fits a kernel's name is its kind.
KINDS = {
    "attention": r"sdpa|flash|fmha|attention",
    "depth-wise convolutions": r"depthwise|conv2d_c1_k1|dgrad2d_c1|wgrad2d_c1|grouped_direct",
    "other convolutions": r"fprop|dgrad|wgrad|implicit|convolve|conv",
    "matrix products": r"gemm|nvjet|cutlass|splitk|gemv",
    "optimiser": r"multi_tensor|adam",
    "layer norms": r"layer_?norm|gammabeta",
    "softmax": r"softmax",
    "sums": r"reduce",
    "copies, casts, fills": r"copy|memcpy|memset|fill|cat|nchw|nhwc|transpose|roll|index",
    "element by element": r"elementwise|vectorized|gelu",
}
_BATCH = 2 if rehearsal() else 128
_STEPS = 1 if rehearsal() else 5
_SHOWN = 14


def measure(rounds: int) -> list[Figure]:
    """Profile both models' inference and training step in bf16, eager; print the longest kernels of each."""
    figures = []
    for name in (TINY, SWIN):
        for what, prepare in (("inference", inference), ("training step", training_step)):
            kernels = _kernels(name, what, prepare)
            print(f"{what}, batch {_BATCH}, {name}: longest kernels\n{_table(kernels)}\n", flush=True)
            total = sum(taken for taken, _ in kernels.values())
            figures.append(Figure(f"{what}, {name}, all kernels", [total], "ms"))
            for kind, taken in _by_kind(kernels).items():
                figures.append(Figure(f"{what}, {name}, {kind}", [taken], "ms"))
    return figures


def kind_of(kernel: str) -> str:
    """Return the kind of a kernel's name."""
    return next(
        (kind for kind, pattern in KINDS.items() if re.search(pattern, kernel, re.IGNORECASE)), "rest"
    )


def _kernels(name: str, what: str, prepare) -> dict[str, tuple[float, int]]:
    """Return milliseconds and calls of one batch by kernel, the longest first."""
    model = create(name).train(what != "inference")
    images = torch.randn(_BATCH, 3, 224, 224, device=device()).contiguous(memory_format=torch.channels_last)
    call = prepare(model, images)
    for _ in range(_STEPS):
        call()
    wait()
    activity = ProfilerActivity.CPU if rehearsal() else ProfilerActivity.CUDA
    with profile(activities=[activity]) as watched:
        for _ in range(_STEPS):
            call()
        wait()
    found = {
        event.key: (_microseconds(event) / 1e3 / _STEPS, event.count // _STEPS)
        for event in watched.key_averages()
        if _microseconds(event) > 0
    }
    return dict(sorted(found.items(), key=lambda item: -item[1][0]))


def _microseconds(event) -> float:
    return event.self_cpu_time_total if rehearsal() else event.self_device_time_total


def _by_kind(kernels: dict[str, tuple[float, int]]) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for kernel, (taken, _) in kernels.items():
        sums[kind_of(kernel)] += taken
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def _table(kernels: dict[str, tuple[float, int]]) -> str:
    rows = [
        {"ms": f"{taken:.2f}", "calls": count, "kind": kind_of(kernel), "kernel": kernel[:110]}
        for kernel, (taken, count) in list(kernels.items())[:_SHOWN]
    ]
    return pd.DataFrame(rows).to_markdown(index=False)
