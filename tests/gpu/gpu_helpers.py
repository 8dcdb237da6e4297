"""What the tests of this folder share: precisions, and distances in double precision."""

import torch

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return mixed precision as the trainings use it; ``fp32`` is none."""
    return torch.autocast(device.type, PRECISIONS[precision], enabled=precision != "fp32")


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return ‖found − expected‖ / ‖expected‖; not finite if anything in ``found`` is not."""
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    return float((found - expected).norm() / expected.norm())


def farthest(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference of two elements; not finite if anything in ``found`` is not."""
    return float((found.detach().double().cpu() - expected.detach().double().cpu()).abs().max())
