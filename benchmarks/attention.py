"""Attention alone, against resolution: between all patches, to a reduced grid, and to clusters (Linux)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch
from measuring import Figure, seconds
from resolution import forget_peak, peak
from timm.models.pvt_v2 import Attention
from torch import nn

from pacavit.models.paca_vit import PatchToClusterAttention, create_clustering

#: Those of the tiny variant's first stage; the reduction is PVT's in its first stage.
CHANNELS, HEADS, CLUSTERS, REDUCTION = 96, 2, 100, 8
#: Side of the image, pixels; a patch has four.
SIZES = (224, 384, 512, 768)
KINDS = ("vanilla", "spatial reduction", "patch to cluster")


def measure(rounds: int) -> list[Figure]:
    """Each at each size in a process of its own, since a process never gives its peak back."""
    figures = []
    for kind in KINDS:
        for size in SIZES:
            found = [_in_process(kind, size) for _ in range(max(2, rounds // 2))]
            for what, unit in (("seconds", "s"), ("megabytes", "MB")):
                figures.append(Figure(f"{kind}, {size}², {what}", [point[what] for point in found], unit))
    return figures


def create(kind: str) -> nn.Module:
    """Return attention of a kind, called with tokens (1, N, C) and their grid."""
    if kind == "patch to cluster":
        return PatchToClusterAttention(
            CHANNELS, HEADS, CLUSTERS, create_clustering("conv", CHANNELS, CLUSTERS)
        ).eval()
    return Attention(CHANNELS, HEADS, sr_ratio=REDUCTION if kind == "spatial reduction" else 1).eval()


def _in_process(kind: str, size: int) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__)), kind, str(size)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _one(kind: str, size: int) -> dict[str, float]:
    module, grid = create(kind), (size // 4, size // 4)
    tokens = torch.randn(1, grid[0] * grid[1], CHANNELS)
    forget_peak()
    before = peak()
    with torch.inference_mode():
        taken = seconds(lambda: module(tokens, grid))
        after = peak()
        taken = min(taken, seconds(lambda: module(tokens, grid), repeats=2))
    return {"seconds": taken, "megabytes": after - before}


if __name__ == "__main__":
    print(json.dumps(_one(sys.argv[1], int(sys.argv[2]))))
