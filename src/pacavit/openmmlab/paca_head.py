"""The PaCa segmentation head: pixels attend to clusters, one cluster a class (paper, section on dense prediction)."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from mmcv.cnn import ConvModule, build_activation_layer, build_norm_layer
from mmengine.registry import MODELS
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.utils import SampleList
from torch import Tensor, nn
from torch.nn import functional as F

from pacavit.errors import PacavitError

#: Name of the losses of the cluster logits.
LOSS_CLUSTERS = "loss_clusters"


class _ChannelsFirst(nn.Module):
    """Tokens (B, M, C) as a map (B, C, M, 1), which every batch norm takes."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).unsqueeze(3)


@MODELS.register_module()
class PaCaHead(BaseDecodeHead):
    """Segments by single-head attention of pixels to one cluster a class.

    Takes several stage maps, four as published. The losses of the cluster logits, against the same labels, are added
    with a weight.

    Args:
        in_channels: of the maps.
        cluster_loss_weight: of the losses on the cluster logits.
        in_index: which of the backbone's maps are taken; as many as ``in_channels`` from the first on without it.
        kwargs: of mmsegmentation's ``BaseDecodeHead``, with any losses; ``norm_cfg`` and ``act_cfg`` may be None.

    Raises:
        PacavitError: a loss has the name of the losses of the clusters, or ``input_transform`` is another one than
            ``multiple_select``.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        cluster_loss_weight: float = 0.4,
        in_index: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        index = list(range(len(in_channels)) if in_index is None else in_index)
        kwargs = {"input_transform": "multiple_select", **kwargs}
        if kwargs["input_transform"] != "multiple_select":
            raise PacavitError(f"input_transform: {kwargs['input_transform']!r}; expected 'multiple_select'")
        super().__init__(in_channels=list(in_channels), in_index=index, **kwargs)
        if any(loss.loss_name == LOSS_CLUSTERS for loss in self._losses()):
            raise PacavitError(
                f"loss_decode: the losses of the clusters are called {LOSS_CLUSTERS}; set another loss_name"
            )
        self.cluster_loss_weight = cluster_loss_weight
        width = self.channels * len(self.in_channels)
        self.convs = nn.ModuleList(self._conv(channels, self.channels) for channels in self.in_channels)
        self.q = nn.Sequential(self._conv(width, self.channels))
        self.clustering = nn.Sequential(
            self._conv(width, self.channels), nn.Conv2d(self.channels, self.num_classes, kernel_size=1)
        )
        self.k = self._linear(width, self.channels)
        self.v = self._linear(width, self.channels)
        self.proj = self._conv(self.channels, self.channels)

    def forward_with_clusters(self, inputs: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits and cluster logits, both (B, classes, H / 4, W / 4), of the four stage maps."""
        x = self._joined(inputs)
        cluster_logits = self.clustering(x)
        q, k, v = self._projected(x, cluster_logits)
        # One head, and no division by the root of its width, as published.
        attended = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], scale=1.0)[:, 0]
        attended = attended.transpose(1, 2).unflatten(2, x.shape[2:])
        return self.cls_seg(self.proj(attended)), cluster_logits

    def weights(self, inputs: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the assignment (B, classes, H / 4, W / 4), and the attention (B, 1, N, classes) of N pixels to it."""
        x = self._joined(inputs)
        cluster_logits = self.clustering(x)
        q, k, _ = self._projected(x, cluster_logits)
        assignment = cluster_logits.flatten(2).softmax(dim=-1).unflatten(2, x.shape[2:])
        return assignment, (q @ k.transpose(1, 2)).softmax(dim=-1)[:, None]

    def _joined(self, inputs: list[Tensor]) -> Tensor:
        """Return the stage maps at one width and the size of the first, side by side in the channels."""
        maps = [conv(x) for conv, x in zip(self.convs, self._transform_inputs(inputs), strict=True)]
        size = maps[0].shape[2:]
        return torch.cat(
            [F.interpolate(m, size=size, mode="bilinear", align_corners=self.align_corners) for m in maps],
            dim=1,
        )

    def _projected(self, x: Tensor, cluster_logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (B, N, C) of the pixels, keys and values (B, classes, C) of the clusters."""
        clusters = cluster_logits.flatten(2).softmax(dim=-1) @ x.flatten(2).transpose(1, 2)
        q = self.q(x).flatten(2).transpose(1, 2)
        k = self.k(clusters).squeeze(3).transpose(1, 2)
        v = self.v(clusters).squeeze(3).transpose(1, 2)
        return q, k, v

    def forward(self, inputs: list[Tensor]) -> Tensor:
        """Return logits (B, classes, H / 4, W / 4)."""
        return self.forward_with_clusters(inputs)[0]

    def loss(
        self, inputs: list[Tensor], batch_data_samples: SampleList, train_cfg: dict
    ) -> dict[str, Tensor]:
        """Return the losses of the logits under their names, and the sum of those of the cluster logits by its weight.

        As mmengine does, values whose name has no ``loss`` in it are left out of the sum.
        """
        # The loss wants this memory order; changing it at a quarter of the side spares a copy at the image's size.
        logits, cluster_logits = (x.contiguous() for x in self.forward_with_clusters(inputs))
        losses = self.loss_by_feat(logits, batch_data_samples)
        on_clusters = self.loss_by_feat(cluster_logits, batch_data_samples)
        terms = [value for name, value in on_clusters.items() if "loss" in name]
        if terms:
            losses[LOSS_CLUSTERS] = self.cluster_loss_weight * functools.reduce(operator.add, terms)
        return losses

    def _losses(self) -> Iterable[nn.Module]:
        return self.loss_decode if isinstance(self.loss_decode, nn.ModuleList) else [self.loss_decode]

    def _conv(self, in_channels: int, out_channels: int) -> ConvModule:
        return ConvModule(
            in_channels,
            out_channels,
            kernel_size=1,
            conv_cfg=self.conv_cfg,
            norm_cfg=self.norm_cfg,
            act_cfg=self.act_cfg,
        )

    def _linear(self, in_channels: int, out_channels: int) -> nn.Sequential:
        layers = [nn.Linear(in_channels, out_channels), _ChannelsFirst()]
        if self.norm_cfg is not None:
            layers.append(build_norm_layer(self.norm_cfg, out_channels)[1])
        if self.act_cfg is not None:
            layers.append(build_activation_layer(self.act_cfg))
        return nn.Sequential(*layers)
