"""The backbone as mmdetection and mmsegmentation take it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from mmengine.logging import print_log
from mmengine.registry import MODELS
from torch import Tensor

from pacavit.errors import PacavitError
from pacavit.models import PaCaViT, variant_config
from pacavit.models.paca_vit import init_parameters
from pacavit.weights import Fit, backbone_weights, read, require_finite


@MODELS.register_module()
class PaCaViTBackbone(PaCaViT):
    """A registered variant without classifier that gives the four normed stage maps.

    Args:
        variant: registered name, e.g. ``pacavit_tiny_p2cconv_100_0``.
        checkpoint: weights of pretraining, as safetensors or as a published ``.pth``; None starts at random.
        pretrained_weights: ``kept``; or ``lost``, which starts at random as the published code does: it loads the
            weights, then mmengine's runner has every layer initialised again, and only the running statistics of
            the teacher's batch norms stay.
        kwargs: keywords of :class:`PaCaViT` that win over the variant's.

    Raises:
        PacavitError: the checkpoint is missing or does not fit, or another value of ``pretrained_weights``.
    """

    def __init__(
        self,
        variant: str,
        checkpoint: str | None = None,
        pretrained_weights: Literal["kept", "lost"] = "kept",
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**variant_config(variant), "num_classes": 0, **kwargs})
        if pretrained_weights not in ("kept", "lost"):
            raise PacavitError(f"pretrained_weights: {pretrained_weights!r}; choose 'kept' or 'lost'")
        self.pretrained_weights = pretrained_weights
        if checkpoint is not None:
            self.load_pretrained(Path(checkpoint))

    def init_weights(self) -> None:
        """Keep the weights, or lose them: mmengine's runner calls this once they are in place already."""
        if self.pretrained_weights == "lost":
            self.apply(init_parameters)

    def load_pretrained(self, path: Path) -> None:
        """Load pretrained weights; layers whose number of clusters differs here keep their random weights.

        Raises:
            PacavitError: the file is missing or unreadable, or other keys than those are missing or misfit.
        """
        weights = backbone_weights(read(path).weights)
        weights = {key: value for key, value in weights.items() if not key.startswith("head.")}
        own = self.state_dict()
        fit = Fit.of(own, weights)
        outputs = tuple(f"{name}." for name in self.cluster_outputs())
        anew = {key for key in fit.misfit if key.startswith(outputs)}
        fit.require(path, "the backbone", allowed=anew)
        require_finite(path, weights)
        self.load_state_dict({**own, **{key: value for key, value in weights.items() if key not in anew}})
        if anew:
            print_log(f"{path}: other numbers of clusters, so these start anew: {sorted(anew)}", "current")

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the normed maps (B, C, H, W) of the four stages, at strides 4, 8, 16 and 32."""
        return tuple(self.forward_intermediates(x, intermediates_only=True))
