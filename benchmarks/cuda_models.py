"""The variants against their peers of timm on a GPU: images/s and memory in bf16, at 224².

Each model is prepared by a process of its own, all at the same time, since compiling takes minutes of a processor.
They then measure one after the other, in a new order every round, while the others hold weights only.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import timm
import torch
from cuda_measuring import (
    copy_rate,
    device,
    forget,
    held_megabytes,
    megabytes,
    product_rate,
    rehearsal,
    seconds,
)
from measuring import Figure
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import pacavit.models  # noqa: F401, registers the variants

TINY, SMALL, BASE = (f"pacavit_{size}_p2cconv_100_0" for size in ("tiny", "small", "base"))
SWIN = "swin_tiny_patch4_window7_224"
#: By variant, what it is held against.
PEERS = {
    TINY: (SWIN, "pvt_v2_b2", "convnext_tiny"),
    SMALL: ("swin_small_patch4_window7_224", "pvt_v2_b3"),
    BASE: (),
}
if rehearsal():
    TINY, SWIN = "test_pacavit", "test_convnext"
    PEERS = {TINY: (SWIN,)}
MODELS = (*PEERS, *(peer for peers in PEERS.values() for peer in peers))
#: Of tiny against Swin-T, by what is done with a batch of 128.
AIMS = {"inference": 1.4, "training step": 1.3}
#: Seconds that preparing, with all compilations, may take; what is not ready by then is left out.
PATIENCE = 300.0
#: Seconds after which no further round begins.
LIMIT = 120.0
_BATCH = 2 if rehearsal() else 128


@dataclass(frozen=True)
class Case:
    """What is measured of a model: inference or a training step, of a batch, compiled or not."""

    model: str
    what: str
    batch: int
    compiled: bool

    @property
    def title(self) -> str:
        return f"{self.what}, batch {self.batch}, {'compiled' if self.compiled else 'eager'}"


def eager(rounds: int) -> list[Figure]:
    """Measure all models as they come, each in a process of its own."""
    kinds = (("inference", _BATCH), ("inference", 1), ("training step", _BATCH))
    return _measured([[Case(model, *kind, compiled=False) for kind in kinds] for model in MODELS], rounds)


def compiled(rounds: int) -> list[Figure]:
    """Measure tiny and its peers compiled, each case in a process of its own, the ones that take longest first."""
    models = (TINY, *PEERS[TINY])
    groups = [[Case(model, "training step", _BATCH, compiled=True)] for model in models]
    groups += [[Case(model, "inference", _BATCH, compiled=True)] for model in models]
    groups += [[Case(model, "inference", 1, compiled=True)] for model in (TINY, SWIN)]
    return _measured(groups, rounds)


def _measured(groups: list[list[Case]], rounds: int) -> list[Figure]:
    """Measure cases in turn, and a large product as what the GPU can do; for :data:`LIMIT` seconds at most."""
    workers = _ready(groups)
    given = {case: connection for group, connection in workers for case in group}
    times: dict[Case, list[float]] = {case: [] for case in given}
    memory: dict[Case, float] = {}
    products, copies = [], []
    until = time.monotonic() + LIMIT
    while len(products) < rounds and (not products or time.monotonic() < until):
        products.append(product_rate())
        copies.append(copy_rate())
        forget()
        for case in random.sample(list(given), len(given)):
            given[case].send(case)
            taken, memory[case] = given[case].recv()
            times[case].append(taken)
    for _, connection in workers:
        connection.send(None)
    operations = {model: _operations(model) for model in dict.fromkeys(case.model for case in times)}
    return [
        Figure("product in bf16", [rate / 1e12 for rate in products], "TFLOP/s"),
        Figure("copy", [rate / 1e9 for rate in copies], "GB/s"),
        *_against_peers(times),
        *(
            figure
            for case in times
            for figure in _figures(case, times[case], memory[case], operations, products)
        ),
    ]


def _against_peers(times: dict[Case, list[float]]) -> Iterable[Figure]:
    by_title = {(case.title, case.model): case for case in times}
    for case in times:
        for peer in PEERS.get(case.model, ()):
            other = by_title.get((case.title, peer))
            if other is None:
                continue
            aimed = case.model == TINY and peer == SWIN and case.batch == _BATCH
            ratios = [b / a for a, b in zip(times[case], times[other], strict=True)]
            name = f"{case.title}, {case.model} against {peer}"
            yield Figure(name, ratios, aim=AIMS[case.what] if aimed else None)


def _figures(
    case: Case, times: list[float], memory: float, operations: dict[str, int], products: list[float]
) -> Iterable[Figure]:
    name = f"{case.title}, {case.model}"
    # A backward pass takes twice the operations of the forward pass.
    work = operations[case.model] * case.batch * (3 if case.what == "training step" else 1)
    shares = [100 * work / taken / rate for taken, rate in zip(times, products, strict=True)]
    yield Figure(name, [case.batch / taken for taken in times], "images/s")
    yield Figure(f"{name}, share of the product's rate", shares, "%")
    yield Figure(f"{name}, memory", [memory], "MB")


def _ready(groups: list[list[Case]]) -> list[tuple[list[Case], Connection]]:
    """Start a process for each group of cases, and return those that are ready in time; say which are not."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # There are about as many processes as cores already.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    started = []
    for group in groups:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, group), daemon=True)
        process.start()
        theirs.close()
        started.append((group, ours, process))
    until = time.monotonic() + PATIENCE
    ready = []
    for group, connection, process in started:
        fault = _fault(connection, process, until - time.monotonic())
        if fault is None:
            ready.append((group, connection))
        else:
            process.kill()
            print(
                f"left out: {', '.join(c.title for c in group)}, {group[0].model}: {fault}", file=sys.stderr
            )
    return ready


def _fault(connection: Connection, process: BaseProcess, patience: float) -> str | None:
    """Return why a process did not get ready, or None if it did."""
    if not connection.poll(max(patience, 0)):
        return f"not ready after {PATIENCE:g} s"
    try:
        return connection.recv()
    except EOFError:
        process.join()
        return f"ended with {process.exitcode}"


def _serve(connection: Connection, group: list[Case]) -> None:
    """Prepare cases, send None or what went wrong, and measure each that is asked for until None is."""
    try:
        calls, own = {}, {}
        for case in group:
            before = held_megabytes()
            calls[case] = _call(case)
            if case.compiled:
                calls[case]()
            forget()
            own[case] = held_megabytes() - before
    except Exception as error:
        connection.send(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return
    connection.send(None)
    while (case := connection.recv()) is not None:
        forget()
        before = held_megabytes()
        taken = seconds(calls[case])
        # Without what the process holds for its other cases.
        connection.send((taken, megabytes() - (before - own[case])))
        forget()
        own[case] += held_megabytes() - before


def _call(case: Case) -> Callable[[], object]:
    model = create(case.model).train(case.what != "inference")
    images = torch.randn(case.batch, 3, 224, 224, device=device()).contiguous(
        memory_format=torch.channels_last
    )
    # On a processor nothing is compiled, only traced.
    backend = "eager" if rehearsal() else "inductor"
    fast = torch.compile(model, dynamic=False, backend=backend) if case.compiled else model
    return inference(fast, images) if case.what == "inference" else training_step(fast, images)


def create(name: str) -> nn.Module:
    """Return a model in channels-last on the device."""
    return timm.create_model(name).to(device(), memory_format=torch.channels_last)


def in_bf16() -> torch.autocast:
    """Return mixed precision; a processor rehearses in fp32, since some take minutes for bf16."""
    return torch.autocast(device().type, torch.bfloat16, enabled=not rehearsal())


def inference(model: nn.Module, images: torch.Tensor) -> Callable[[], None]:
    """Return a call of the model in bf16 that records nothing."""

    def call() -> None:
        with torch.inference_mode(), in_bf16():
            model(images)

    return call


def training_step(model: nn.Module, images: torch.Tensor) -> Callable[[], None]:
    """Return an update by AdamW in bf16."""
    labels = torch.arange(len(images), device=images.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)

    def call() -> None:
        with in_bf16():
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return call


def _operations(name: str) -> int:
    """Return the floating-point operations of a forward pass on one image, two a multiply-add."""
    model = create(name).eval()
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), counter:
        model(torch.randn(1, 3, 224, 224, device=device()))
    return counter.get_total_flops()
