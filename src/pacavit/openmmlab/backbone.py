"""The backbone as mmdetection and mmsegmentation take it."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.registry import MODELS
from safetensors.torch import load_file
from torch import Tensor

from pacavit.errors import PacavitError
from pacavit.models import PaCaViT, checkpoint_filter_fn, variant_config


@MODELS.register_module()
class PaCaViTBackbone(PaCaViT):
    """A registered variant without classifier that gives the four normed stage maps.

    Args:
        variant: registered name, e.g. ``pacavit_tiny_p2cconv_100_0``.
        checkpoint: weights of pretraining, as safetensors or as a published ``.pth``; None starts at random.
        kwargs: keywords of :class:`PaCaViT` that win over the variant's.

    Raises:
        PacavitError: the checkpoint is missing or does not fit.
    """

    def __init__(self, variant: str, checkpoint: str | None = None, **kwargs: Any) -> None:
        super().__init__(**{**variant_config(variant), "num_classes": 0, **kwargs})
        if checkpoint is not None:
            self.load_pretrained(Path(checkpoint))

    def init_weights(self) -> None:
        """Keep the weights: mmengine's runner calls this after construction, when they are in place already."""

    def load_pretrained(self, path: Path) -> None:
        """Load pretrained weights; layers whose number of clusters differs here keep their random weights.

        Raises:
            PacavitError: the file is missing or unreadable, or other keys than those are missing or misfit.
        """
        weights = {k: v for k, v in read_checkpoint(path).items() if not k.startswith("head.")}
        own = self.state_dict()
        misfit = {key for key in own if key in weights and own[key].shape != weights[key].shape}
        outputs = tuple(f"{name}." for name in self.cluster_outputs())
        anew = {key for key in misfit if key.startswith(outputs)}
        problems = [f"{key} missing" for key in own.keys() - weights.keys()]
        problems += [f"{key} unknown" for key in weights.keys() - own.keys()]
        problems += [
            f"{key} is {tuple(weights[key].shape)}, not {tuple(own[key].shape)}" for key in misfit - anew
        ]
        if problems:
            shown = ", ".join(sorted(problems)[:5])
            raise PacavitError(f"{path}: does not fit the backbone in {len(problems)} places: {shown}")
        self.load_state_dict({**own, **{key: value for key, value in weights.items() if key not in anew}})
        if anew:
            print_log(f"{path}: other numbers of clusters, so these start anew: {sorted(anew)}", "current")

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the normed maps (B, C, H, W) of the four stages, at strides 4, 8, 16 and 32."""
        return tuple(self.forward_intermediates(x, intermediates_only=True))


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the backbone's weights in a file, under its own keys.

    Raises:
        PacavitError: the file is missing, or is neither safetensors nor a checkpoint of plain tensors.
    """
    if not path.is_file():
        raise PacavitError(f"{path}: no such checkpoint; pretrain the variant first or mend the path")
    try:
        return checkpoint_filter_fn(load_file(path) if path.suffix == ".safetensors" else _unpickle(path))
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise PacavitError(f"{path}: not a readable checkpoint ({reason}); fetch or make it again") from error


def _unpickle(path: Path) -> dict[str, Any]:
    # timm's trainer saves its arguments with the weights; a Namespace runs nothing when it is loaded.
    with torch.serialization.safe_globals([Namespace]):
        return torch.load(path, map_location="cpu", weights_only=True)
