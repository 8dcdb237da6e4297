"""Activations that a training step keeps for its backward pass, counted without computing them."""

from __future__ import annotations

from functools import cache

import timm
import torch
from torch import Tensor

import pacavit.models  # noqa: F401, registers the variants


@cache
def activation_bytes(variant: str, size: tuple[int, int]) -> int:
    """Return the bytes that autograd keeps of one image (3, H, W) in the backbone, in fp32.

    Parameters do not count. Views of one storage count once. A dense task keeps more, in its neck and heads.

    Args:
        variant: registered name.
        size: height and width, pixels.
    """
    with torch.device("meta"):
        model = timm.create_model(variant, num_classes=0).train()
        images = torch.empty(1, 3, *size)
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, tuple[int, Tensor]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = (storage.nbytes(), tensor)  # the tensor, so that its number stays taken
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(images)
    return sum(size for size, _ in kept.values())
