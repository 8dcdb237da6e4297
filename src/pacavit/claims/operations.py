"""Counting multiply-adds of a model that holds no numbers.

A model on torch's ``meta`` device has shapes only, so counting takes no memory and no time to speak of. Fused
attention kernels are opened there, and their two products counted.

Beside products, the published figures contain small operations, at the rates of the counter that fits all of them
(fvcore 0.1.5): so much per element for norms, resizing and pooling.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

_aten = torch.ops.aten

_PRODUCTS = {
    _aten.convolution: "convolution",
    _aten._convolution: "convolution",
    _aten.mm: "linear",
    _aten.addmm: "linear",
    _aten.bmm: "attention",
    _aten.baddbmm: "attention",
}
# Multiply-adds of the small operations, and the kind they are summed under.
_SMALL = {
    _aten.native_layer_norm: ("norm", 5),
    _aten.native_batch_norm: ("norm", 2),
    _aten._native_batch_norm_legit_no_training: ("norm", 2),
    _aten.native_group_norm: ("norm", 2),
    _aten.upsample_bilinear2d: ("resize", 4),
    _aten._adaptive_avg_pool2d: ("pool", 1),
}
#: Those whose count goes by the input; the others' goes by the output.
_BY_INPUT = (_aten._adaptive_avg_pool2d,)

KINDS = (
    "convolution",
    "same_convolution",  # with padding="same"
    "deconvolution",
    "linear",
    "attention",
    "norm",
    "resize",
    "pool",
)


def count_operations(model: nn.Module, run: Callable[[], Any]) -> dict[str, int]:
    """Return the multiply-adds of a call on the ``meta`` device, by kind of operation.

    Attention is every product of two activations: clusters from assignments, queries with keys, weights with values.

    Args:
        model: holds the modules that the call runs.
        run: runs the model or a part of it.

    Raises:
        NotImplementedError: an operation that torch's counter counts, and of which this function knows no kind.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_mapping())
    with _apart(model) as apart, _without_fastpath(), torch.no_grad(), counter:
        run()
    counts: Counter[str] = Counter(apart)
    counts["convolution"] -= sum(apart.values())
    for operation, flops in counter.get_flop_counts().get("Global", {}).items():
        if operation in _PRODUCTS:
            # The counter takes a multiply-add for two.
            counts[_PRODUCTS[operation]] += flops // 2
        elif operation in _SMALL:
            counts[_SMALL[operation][0]] += flops
        elif flops:
            raise NotImplementedError(f"{operation} has {flops} operations of no known kind; add it here")
    return {kind: counts[kind] for kind in KINDS}


@contextmanager
def _apart(model: nn.Module) -> Iterator[Counter[str]]:
    """Sum the convolutions that counters disagree about, by kind, while the model runs."""
    sums: Counter[str] = Counter()

    def transposed(module: nn.ConvTranspose2d, inputs: tuple[Tensor], output: Tensor) -> None:
        # Each input element meets its share of the kernel.
        sums["deconvolution"] += inputs[0].numel() * module.weight[0].numel()

    def same(module: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
        sums["same_convolution"] += output.numel() * module.weight[0].numel()

    handles = []
    for module in model.modules():
        if isinstance(module, nn.ConvTranspose2d):
            handles.append(module.register_forward_hook(transposed))
        elif isinstance(module, nn.Conv2d) and module.padding == "same":
            handles.append(module.register_forward_hook(same))
    try:
        yield sums
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _without_fastpath() -> Iterator[None]:
    """Keep torch's attention layer in pieces: one fused kernel would hide its products from the counter."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def correct_total(counts: dict[str, int]) -> int:
    """Return all multiply-adds."""
    return sum(counts.values())


def authors_total(counts: dict[str, int]) -> int:
    """Return all multiply-adds as the authors count them.

    They multiply the kernel of a deconvolution by the size of its output; at stride 2 that is four times as many. And
    their counter passes over convolutions with ``padding="same"``, which the clustering teacher has. Both are inferred:
    with them the published figures are met within one unit of their last place, but for misprints and for two of
    COCO's, which are 1.1 G apart.
    """
    return correct_total(counts) + 3 * counts["deconvolution"] - counts["same_convolution"]


def _mapping() -> dict[Any, Callable[..., int]]:
    def rate(operation: Any, per_element: int) -> Callable[..., int]:
        if operation in _BY_INPUT:
            return lambda shape, *_, **__: per_element * torch.Size(shape).numel()
        return lambda *_, out_shape=None, **__: per_element * torch.Size(_first(out_shape)).numel()

    return {operation: rate(operation, n) for operation, (_, n) in _SMALL.items()}


def _first(shape: Any) -> Any:
    """Return the shape of the first output, of one or of several."""
    return shape[0] if isinstance(shape[0], (tuple, list)) else shape
