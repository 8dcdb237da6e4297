"""Weights and inputs of the golden outputs, made from names and seeds alone.

The golden outputs come from the published implementation with these weights. Each tensor has a generator of its
own, seeded by the CRC-32 of its key, so that equal keys and shapes give equal weights.
"""

from zlib import crc32

import numpy as np
import torch


def fill_state_dict(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return float32 tensors under the same keys and of the same shapes; constant buffers stay as they are."""
    return {key: _filled(key, old) for key, old in state_dict.items()}


def image_batch(seed: int, batch: int, height: int, width: int) -> torch.Tensor:
    """Return standard normal images (batch, 3, height, width)."""
    return _normal(np.random.default_rng(seed), (batch, 3, height, width))


def feature_maps(seed: int, channels: list[int], height: int, width: int) -> list[torch.Tensor]:
    """Return standard normal maps (1, C, H, W), one for each number of channels, each half as large as the last."""
    generator = np.random.default_rng(seed)
    return [_normal(generator, (1, c, height >> i, width >> i)) for i, c in enumerate(channels)]


def _filled(key: str, old: torch.Tensor) -> torch.Tensor:
    if key.rsplit(".", 1)[-1] in ("blur_filter", "num_batches_tracked"):
        return old.clone()
    noise = np.random.default_rng(crc32(key.encode())).standard_normal(tuple(old.shape))
    if old.ndim > 1:
        noise /= np.sqrt(np.prod(old.shape[1:]))
    elif key.endswith("running_var"):
        noise = 1 + np.abs(noise) * 0.1
    elif key.endswith("weight"):
        noise = 1 + noise * 0.1
    else:
        noise *= 0.1
    return torch.from_numpy(noise.astype(np.float32))


def _normal(generator: np.random.Generator, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(generator.standard_normal(shape).astype(np.float32))
