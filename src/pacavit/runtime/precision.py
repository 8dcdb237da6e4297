"""Mixed precision where the device has it."""

from __future__ import annotations

import torch

from pacavit.errors import PacavitError
from pacavit.params.base import Precision

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast_type(precision: Precision, device: torch.device) -> torch.dtype | None:
    """Return the type of mixed precision, None for plain fp32.

    ``auto`` is fp16 on CUDA, as published, and fp32 elsewhere.

    Raises:
        PacavitError: fp16 without a GPU, whose gradient scaling needs one.
    """
    if precision == "auto":
        return torch.float16 if device.type == "cuda" else None
    if precision == "fp16" and device.type != "cuda":
        raise PacavitError(
            f"precision: fp16 needs a GPU, and this is {device.type}; choose auto, bf16 or fp32"
        )
    return _TYPES.get(precision)
