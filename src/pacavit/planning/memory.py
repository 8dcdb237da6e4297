"""Activations that a training step keeps for its backward pass, counted without computing them."""

from __future__ import annotations

import torch
from torch import Tensor

from pacavit.models import variants
from pacavit.params.targets import Model


def activation_bytes(model: Model, size: tuple[int, int]) -> int:
    """Return the bytes that autograd keeps of one image (3, H, W) in the backbone, in fp32.

    Parameters do not count. Views of one storage count once. A dense task keeps more, in its neck and heads.

    Args:
        model: the variant.
        size: height and width, pixels.
    """
    with torch.device("meta"):
        backbone = variants.create_dense(model).train()
        images = torch.empty(1, 3, *size)
    own = {parameter.untyped_storage()._cdata for parameter in backbone.parameters()}
    kept: dict[int, tuple[int, Tensor]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = (storage.nbytes(), tensor)  # the tensor, so that its number stays taken
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        backbone(images)
    return sum(size for size, _ in kept.values())
