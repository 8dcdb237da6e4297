"""The backbone as mmdetection and mmsegmentation take it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from mmengine.logging import print_log
from mmengine.model import initialize
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pacavit.errors import PacavitError
from pacavit.models import PaCaViT, variant_config
from pacavit.models.paca_vit import init_parameters
from pacavit.weights import Fit, backbone_weights, read, require_finite


class Pretrained(nn.Module):
    """What the backbones share: weights of pretraining, from a file, which mmengine's runner keeps.

    Attributes:
        pretrained_weights: ``kept``, or ``lost`` as :class:`PaCaViTBackbone` tells.
    """

    pretrained_weights: Literal["kept", "lost"]

    def begin(
        self,
        checkpoint: str | None,
        pretrained_weights: str,
        init_cfg: dict[str, Any] | Sequence[dict[str, Any]] | None,
    ) -> None:
        """Take over the arguments, and load the file of ``checkpoint``, once the layers are there.

        Raises:
            PacavitError: as of :meth:`load_pretrained`, or an argument has another value than those named.
        """
        if pretrained_weights not in ("kept", "lost"):
            raise PacavitError(f"pretrained_weights: {pretrained_weights!r}; choose 'kept' or 'lost'")
        self._initialisers = (
            [] if init_cfg is None else [init_cfg] if isinstance(init_cfg, dict) else init_cfg
        )
        if checkpoint is not None and any(map(_is_pretrained, self._initialisers)):
            raise PacavitError("checkpoint and an init_cfg of type Pretrained: give one of them")
        self.pretrained_weights = pretrained_weights
        if checkpoint is not None:
            self.load_pretrained(Path(checkpoint))

    def fitted(self, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], set[str]]:
        """Return a file's weights without those of layers that are not here, and the keys of those that start anew.

        Weights that may have another shape here are changed to it, or named as ones that start anew.
        """
        raise NotImplementedError

    def lose(self) -> None:
        """Initialise at random, as the family's own code does."""
        raise NotImplementedError

    def init_weights(self) -> None:
        """Do what ``init_cfg`` says, and keep the weights or lose them.

        mmengine's runner calls this once the weights of ``checkpoint`` are in place already.

        Raises:
            PacavitError: as of :meth:`load_pretrained`, or ``init_cfg`` names no file or an address.
        """
        for config in self._initialisers:
            if not _is_pretrained(config):
                initialize(self, config)
            elif not config.get("checkpoint"):
                raise PacavitError("init_cfg: type Pretrained: expected checkpoint, the path of a file")
            elif "://" in config["checkpoint"]:
                raise PacavitError(
                    f"init_cfg: {config['checkpoint']}: addresses are not opened; fetch the file and name its path"
                )
            else:
                self.load_pretrained(Path(config["checkpoint"]))
        if self.pretrained_weights == "lost":
            self.lose()

    def load_pretrained(self, path: Path) -> None:
        """Load pretrained weights; layers that :meth:`fitted` names keep their random weights.

        Raises:
            PacavitError: the file is missing or unreadable, other keys than those are missing or misfit, or a number is
                not finite.
        """
        weights, anew = self.fitted(backbone_weights(read(path).weights))
        own = self.state_dict()
        fit = Fit.of(own, weights)
        fit.require(path, "the backbone", allowed=anew)
        require_finite(path, weights)
        self.load_state_dict({**own, **{key: value for key, value in weights.items() if key not in anew}})
        if anew:
            print_log(f"{path}: other numbers of clusters, so these start anew: {sorted(anew)}", "current")


@MODELS.register_module()
class PaCaViTBackbone(Pretrained, PaCaViT):
    """A registered variant without classifier that gives normed stage maps.

    Args:
        variant: registered name, e.g. ``pacavit_tiny_p2cconv_100_0``.
        checkpoint: weights of pretraining, as safetensors or as a published ``.pth``; None starts at random.
        pretrained_weights: ``kept``; or ``lost``, which starts at random as the published code does: it loads the
            weights, then mmengine's runner has every layer initialised again, and only the running statistics of
            the teacher's batch norms stay.
        out_indices: the stages whose maps are given, from 0. Stages after the last of them are left out.
        frozen_stages: how many stages stay as they are, with the stem; -1 trains all. They are in evaluation mode, so
            that they drop no path. A teacher clusters for the first stage already, and so is frozen with it.
        norm_eval: keep batch norms, which a teacher has, in evaluation mode.
        with_cp: recompute each block in the backward pass instead of keeping its activations.
        init_cfg: as of mmengine. ``{"type": "Pretrained", "checkpoint": FILE}`` loads a file as ``checkpoint`` does,
            when the runner initialises the model. Without one, layers that have no weights of a file keep the
            initialisation of the published code.
        kwargs: keywords of :class:`PaCaViT` that win over the variant's.

    Raises:
        PacavitError: the checkpoint is missing or does not fit, or an argument has another value than those named.
    """

    def __init__(
        self,
        variant: str,
        checkpoint: str | None = None,
        pretrained_weights: Literal["kept", "lost"] = "kept",
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**variant_config(variant), "num_classes": 0, **kwargs})
        stages = range(self.num_stages)
        if (
            not isinstance(out_indices, Sequence)
            or not out_indices
            or list(out_indices) != [i for i in stages if i in out_indices]
        ):
            raise PacavitError(
                f"out_indices: {out_indices}; expected stages from 0 to {stages[-1]} in rising order"
            )
        if frozen_stages not in range(-1, len(stages) + 1):
            raise PacavitError(f"frozen_stages: {frozen_stages}; expected -1 to {len(stages)}")
        self.out_indices = list(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        complete = set(self.state_dict())
        self.prune_intermediate_layers(self.out_indices)
        self._pruned = complete - set(self.state_dict())
        self.set_grad_checkpointing(with_cp)
        for module in self._frozen():
            module.requires_grad_(False)
        self.begin(checkpoint, pretrained_weights, init_cfg)

    def fitted(self, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], set[str]]:
        """Leave out the classifier and stages that are not built; layers of another number of clusters start anew."""
        kept = {
            key: value
            for key, value in weights.items()
            if not key.startswith("head.") and key not in self._pruned
        }
        outputs = tuple(f"{name}." for name in self.cluster_outputs())
        return kept, {key for key in Fit.of(self.state_dict(), kept).misfit if key.startswith(outputs)}

    def lose(self) -> None:
        """Initialise every layer as the published code does."""
        self.apply(init_parameters)

    def train(self, mode: bool = True) -> PaCaViTBackbone:
        """Set the training mode of what is trained; frozen stages stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen():
            module.eval()
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the normed maps (B, C, H, W) of the stages ``out_indices``, which have strides 4, 8, 16 and 32."""
        return tuple(self.forward_intermediates(x, self.out_indices, intermediates_only=True))

    def _frozen(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        names = ["patch_embed"]
        for i in range(1, self.frozen_stages + 1):
            names += [f"stage{i}", f"norm{i}", *([f"transition{i - 1}"] if i > 1 else ["paca_teacher"])]
        return [module for name in names if (module := getattr(self, name)) is not None]


def _is_pretrained(config: dict[str, Any]) -> bool:
    return config.get("type") == "Pretrained"
