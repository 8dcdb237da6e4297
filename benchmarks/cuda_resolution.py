"""Time and memory of inference on a GPU in bf16, from 224² to 2048², and how they grow with the pixels."""

from __future__ import annotations

import numpy as np
import timm
import torch
from cuda_measuring import device, forget, held_megabytes, megabytes, rehearsal, seconds
from cuda_models import SWIN, TINY, inference
from measuring import Figure

MODELS = (TINY, SWIN) if rehearsal() else (TINY, SWIN, "pvt_v2_b2", "pvt_v2_b2_li")
SIZES = (224, 256, 288) if rehearsal() else (224, 384, 512, 768, 1024, 1536, 2048)
#: Fewer, and small images would measure how fast a processor starts kernels.
BATCH = 1 if rehearsal() else 8
#: From this size on the exponents are fitted.
LARGE = 224 if rehearsal() else 768


def measure(rounds: int) -> list[Figure]:
    """Each model at each size, for a third of the rounds and two at least; memory beyond weights and images."""
    figures = []
    for name in MODELS:
        found = {size: _one(name, size, max(2, rounds // 3)) for size in SIZES}
        for size, (times, memory) in found.items():
            figures.append(Figure(f"{name}, {size}², batch {BATCH}, time", [1e3 * t for t in times], "ms"))
            figures.append(Figure(f"{name}, {size}², batch {BATCH}, memory", [memory], "MB"))
        for what, values in (
            ("time", [float(np.median(times)) for times, _ in found.values()]),
            ("memory", [memory for _, memory in found.values()]),
        ):
            figures.append(Figure(f"{name}, exponent of {what} from {LARGE}²", [exponent(values)], ""))
    return figures


def exponent(values: list[float]) -> float:
    """Return e of values, one a size, that grow as pixels^e over the large sizes."""
    pairs = [(size, value) for size, value in zip(SIZES, values, strict=True) if size >= LARGE]
    pixels, values = zip(*((np.log(size**2), np.log(value)) for size, value in pairs), strict=True)
    return float(np.polyfit(pixels, values, 1)[0])


def _one(name: str, size: int, rounds: int) -> tuple[list[float], float]:
    """Return seconds of a batch, one a round, and MB."""
    options = {"img_size": size} if name.startswith("swin") else {}
    model = timm.create_model(name, **options).eval().to(device(), memory_format=torch.channels_last)
    images = torch.randn(BATCH, 3, size, size, device=device()).contiguous(memory_format=torch.channels_last)
    call = inference(model, images)
    call()
    forget()
    held = held_megabytes()
    times = [seconds(call) for _ in range(rounds)]
    return times, megabytes() - held
