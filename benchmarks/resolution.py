"""Time and peak memory of inference on one image from 224² to 1536², and how they grow with the pixels (Linux)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from measuring import Figure, seconds
from torch.nn import functional as F

import pacavit.models  # noqa: F401, registers the variants

MODELS = ("pacavit_tiny_p2cconv_100_0", "swin_tiny_patch4_window7_224", "pvt_v2_b2", "pvt_v2_b2_li")
SIZES = (224, 384, 512, 768, 1024, 1536)
#: The size that detection is measured at.
DETECTION = (800, 1333)
#: Attention as the published code computes it, which keeps the map of every block.
KEPT = "keeping attention"


def measure(rounds: int) -> list[Figure]:
    """Each model at each size in a process of its own, since a process never gives its peak back.

    A round takes minutes, so that there are a third of the rounds, and two at least.
    """
    rounds = max(2, rounds // 3)
    figures = []
    for name in MODELS:
        found = [[_in_process(name, size, size) for size in SIZES] for _ in range(rounds)]
        for what, unit in (("seconds", "s"), ("megabytes", "MB")):
            rows = [[point[what] for point in row] for row in found]
            for size, values in zip(SIZES, zip(*rows, strict=True), strict=True):
                figures.append(Figure(f"{name}, {size}², {what}", list(values), unit))
            figures.append(Figure(f"{name}, exponent of {what}", [exponent(row) for row in rows], ""))
    ours, kept = (
        [_in_process(MODELS[0], *DETECTION, kept)["megabytes"] for _ in range(rounds)] for kept in ("", KEPT)
    )
    shares = [own / other for own, other in zip(ours, kept, strict=True)]
    title = "peak memory at 1333 × 800, tiny against itself keeping every attention map"
    return [*figures, Figure(title, shares, aim=0.6, at_most=True)]


def exponent(values: list[float]) -> float:
    """Return e of values that grow as pixels^e: 1 is linear in the patches, 2 is plain attention."""
    pixels = np.log([size**2 for size in SIZES])
    return float(np.polyfit(pixels, np.log(values), 1)[0])


def _in_process(name: str, height: int, width: int, kept: str = "") -> dict[str, float]:
    command = [sys.executable, str(Path(__file__)), name, str(height), str(width), kept]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _one(name: str, height: int, width: int, kept: str) -> dict[str, float]:
    size = {"img_size": (height, width)} if name.startswith("swin") else {}
    model = timm.create_model(name, **size).eval()
    maps: list[torch.Tensor] = []
    if kept:
        F.scaled_dot_product_attention = lambda *given, **_: _kept_attention(maps, *given)
    images = torch.rand(1, 3, height, width)
    before = peak()
    with torch.inference_mode():
        taken = seconds(lambda: model(images), repeats=1)
        after = peak()
        maps.clear()
        taken = min(taken, seconds(lambda: model(images), repeats=2))
    return {"seconds": taken, "megabytes": after - before}


def _kept_attention(
    maps: list[torch.Tensor], q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
) -> torch.Tensor:
    maps.append((q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(dim=-1))
    return maps[-1] @ v


def forget_peak() -> None:
    """Let :func:`peak` begin at what this program has now: loading torch takes more than a small layer."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """Return the most memory that this program ever had, in MB; ``getrusage`` would count who started it too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    print(json.dumps(_one(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])))
