"""Operators of mmcv from torchvision.

mmcv's compiled operators cannot be built against current torch, and ``mmcv-lite`` comes without them. Mask R-CNN,
UPerNet and the PaCa head need only ``nms`` and ``roi_align``, detectors of one stage the focal loss too, on a GPU;
:mod:`pacavit.mmcv_extension` lets a module be found as ``mmcv._ext`` that has them. A compiled mmcv is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch
import torchvision
from torch import Tensor
from torch.nn import functional as F

from pacavit.mmcv_extension import NAME


class OperatorAdapter(ModuleType):
    """Stands for the extension module; an operator that it lacks says so when it is called."""

    def __getattr__(self, name: str) -> Callable:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*args: object, **kwargs: object) -> None:
            raise NotImplementedError(
                f"mmcv operator {name!r} is not available with mmcv-lite; install mmcv with its compiled operators"
            )

        return missing


def adapter() -> OperatorAdapter:
    """Return the module with its operators."""
    module = OperatorAdapter(NAME, __doc__)
    module.nms = nms
    module.roi_align_forward = roi_align_forward
    module.roi_align_backward = roi_align_backward
    module.sigmoid_focal_loss_forward = sigmoid_focal_loss_forward
    module.sigmoid_focal_loss_backward = sigmoid_focal_loss_backward
    return module


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return indices of the boxes that non-maximum suppression keeps, by falling score.

    Args:
        boxes: (n, 4) as x1, y1, x2, y2.
        scores: (n,).
        iou_threshold: boxes that overlap a better one by more are dropped.
        offset: 1 counts the last pixel into a box, as old detectors do.
    """
    far_corner = torch.tensor([0, 0, offset, offset], device=boxes.device)
    return torchvision.ops.nms(boxes.float() + far_corner, scores.float(), iou_threshold)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pool the regions (n, 5) of maps (B, C, H, W) into ``output`` (n, C, aligned_height, aligned_width)."""
    _refuse_max(pool_mode)
    dtype = _computed_in(input)
    size = (aligned_height, aligned_width)
    pooled = torchvision.ops.roi_align(
        input.to(dtype), rois.to(dtype), size, spatial_scale, sampling_ratio, aligned
    )
    output.copy_(pooled)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Spread the gradient of the pooled regions over ``grad_input`` (B, C, H, W)."""
    _refuse_max(pool_mode)
    dtype = _computed_in(grad_output)
    gradient = torch.ops.torchvision._roi_align_backward(
        grad_output.to(dtype),
        rois.to(dtype),
        spatial_scale,
        aligned_height,
        aligned_width,
        *grad_input.shape,
        sampling_ratio,
        aligned,
    )
    grad_input.copy_(gradient)


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, *, gamma: float, alpha: float
) -> None:
    """Write the focal loss of logits (n, C) into ``output``; ``target`` (n,) is a class, or C for none."""
    output.copy_(_focal_loss(input, target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, *, gamma: float, alpha: float
) -> None:
    """Write the gradient of the sum of the focal losses into ``grad_input`` (n, C)."""
    with torch.enable_grad():
        logits = input.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(_focal_loss(logits, target, weight, gamma, alpha).sum(), logits)
    grad_input.copy_(gradient)


def _focal_loss(input: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    if weight.numel() > 0:
        raise NotImplementedError(
            "sigmoid_focal_loss with weights of classes is not available with mmcv-lite"
        )
    classes = input.shape[1]
    logits = input.to(_computed_in(input))
    wanted = F.one_hot(target, classes + 1)[:, :classes].to(logits)
    return torchvision.ops.sigmoid_focal_loss(logits, wanted, alpha, gamma)


def _computed_in(x: Tensor) -> torch.dtype:
    """Return single precision, or double for doubles: torchvision has no bf16, and wants maps and regions alike."""
    return torch.promote_types(x.dtype, torch.float32)


def _refuse_max(pool_mode: int) -> None:
    if pool_mode != 1:
        raise NotImplementedError("roi_align with pool_mode 'max' is not available with mmcv-lite; use 'avg'")
