"""The tiny model against its peers of timm: images/s of inference and of a training step at 224², batch 8."""

from __future__ import annotations

from collections.abc import Callable

import timm
import torch
from measuring import Figure, in_turn, ratios
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import pacavit.models  # noqa: F401, registers the variants

TINY, SWIN, PVT = "pacavit_tiny_p2cconv_100_0", "swin_tiny_patch4_window7_224", "pvt_v2_b2"
#: What the published code does of Swin-T's images/s in eager fp32, measured on the machine of the first comparison.
PUBLISHED_OF_SWIN = 0.77
_SGEMM = 1024


def eager(rounds: int) -> list[Figure]:
    """Inference and training steps in fp32, as the models come."""
    images = torch.rand(8, 3, 224, 224)
    figures = []
    for what, prepare, aims in (
        ("inference", _inference, {SWIN: 1.35, PVT: 1.3}),
        ("training step", _training_step, {SWIN: 1.3, PVT: None}),
    ):
        calls = {name: prepare(timm.create_model(name), images) for name in (TINY, SWIN, PVT)}
        times = in_turn(calls, rounds)
        for peer, aim in aims.items():
            figures.append(Figure(f"{what}, fp32, tiny against {peer}", ratios(times, TINY, peer), aim=aim))
        figures.append(Figure(f"{what}, fp32, tiny", [len(images) / t for t in times[TINY]], "images/s"))
    return figures


def compiled(rounds: int) -> list[Figure]:
    """Inference under ``torch.compile``: the share of the machine's matrix product, and what bf16 brings."""
    images = torch.rand(8, 3, 224, 224)
    tiny = timm.create_model(TINY).eval()
    fast = torch.compile(tiny)
    square = torch.rand(_SGEMM, _SGEMM)

    def in_bf16() -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            fast(images)

    calls = {
        "compiled": _inference(fast, images),
        "bf16": in_bf16,
        SWIN: _inference(timm.create_model(SWIN), images),
        "product": lambda: [square @ square for _ in range(20)],
    }
    times = in_turn(calls, rounds)
    operations = _operations(tiny, images)
    rates = [20 * 2 * _SGEMM**3 / t for t in times["product"]]
    shares = [operations / t / rate for t, rate in zip(times["compiled"], rates, strict=True)]
    published = [ratio / PUBLISHED_OF_SWIN for ratio in ratios(times, "bf16", SWIN)]
    return [
        Figure("inference, fp32, compiled, share of sgemm", shares, "", aim=0.75),
        Figure("inference, bf16, compiled, against the published code's eager fp32", published, aim=4.0),
        Figure("sgemm", [rate / 1e9 for rate in rates], "GFLOP/s"),
    ]


def _inference(model: nn.Module, images: torch.Tensor) -> Callable[[], None]:
    model.eval()

    def call() -> None:
        with torch.inference_mode():
            model(images)

    return call


def _training_step(model: nn.Module, images: torch.Tensor) -> Callable[[], None]:
    model.train()
    labels = torch.arange(len(images))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)

    def call() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return call


def _operations(model: nn.Module, images: torch.Tensor) -> int:
    """Return the floating-point operations of a forward pass, two a multiply-add.

    The counter sees no fused attention on the CPU, so that plain products stand in for it.
    """
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), counter:
        model(images)
    return counter.get_total_flops()
