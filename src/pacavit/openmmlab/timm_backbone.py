"""Any model of timm with four maps as mmdetection and mmsegmentation take it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from mmengine.registry import MODELS
from timm.layers import LayerNorm2d, resize_rel_pos_bias_table
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from pacavit.errors import PacavitError
from pacavit.models import variants
from pacavit.openmmlab.backbone import Pretrained
from pacavit.params.targets import Model
from pacavit.weights import Fit

_TABLE = ".relative_position_bias_table"
#: Side of the images by which layers are found that no map depends on, pixels.
_SIDE = 64


@dataclass
class Options:
    """What a backbone is beside the model of timm.

    Attributes:
        classifier: name of the layer that pretraining has and a backbone has not.
        indices: of the maps that it gives, as of ``forward_intermediates``.
        norms: names of the norms of these maps; none where the family has none.
        norm_eval: keep batch norms in evaluation mode.
        random: weights to go back to.
    """

    classifier: str
    indices: list[int]
    norms: list[str]
    norm_eval: bool = False
    random: dict[str, Tensor] | None = None


class TimmBackbone(Pretrained):
    """A model of timm that gives its four maps; made by :func:`timm_backbone`.

    It is the whole model, so that the keys of its weights are those of pretraining, without the classifier. Where the
    family's dense code norms the maps, there are ``norm0`` to ``norm3`` beside. Layers that no map depends on, such as
    the norm before the classifier, are kept and not trained.
    """

    as_backbone: Options

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps (B, C, H, W) of the stages ``out_indices``, which have strides 4, 8, 16 and 32."""
        found = variants.intermediates(self, x, self.as_backbone.indices)
        if not self.as_backbone.norms:
            return tuple(found)
        return tuple(
            getattr(self, norm)(one) for norm, one in zip(self.as_backbone.norms, found, strict=True)
        )

    def train(self, mode: bool = True) -> TimmBackbone:
        """Set the training mode; batch norms stay in evaluation mode if ``norm_eval`` is set."""
        super().train(mode)
        if self.as_backbone.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def fitted(self, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], set[str]]:
        """Leave out the classifier, and interpolate tables of relative positions of windows of other sizes."""
        own = self.state_dict()
        kept = {k: v for k, v in weights.items() if not k.startswith(f"{self.as_backbone.classifier}.")}
        for key in Fit.of(own, kept).misfit:
            if key.endswith(_TABLE) and kept[key].shape[1:] == own[key].shape[1:]:
                window = self.get_submodule(key.removesuffix(_TABLE)).window_size
                kept[key] = resize_rel_pos_bias_table(kept[key], window, own[key].shape)
        norms = {key: own[key] for key in own if key.rpartition(".")[0] in self.as_backbone.norms}
        return norms | kept, set()

    def lose(self) -> None:
        """Go back to the random weights that the model was made with."""
        self.load_state_dict(self.as_backbone.random)


@MODELS.register_module(name="TimmBackbone")
def timm_backbone(
    model: str,
    checkpoint: str | None = None,
    kwargs: dict[str, Any] | None = None,
    imports: Sequence[str] = (),
    drop_path_rate: float = 0.0,
    pretrained_weights: Literal["kept", "lost"] = "kept",
    out_indices: Sequence[int] = (0, 1, 2, 3),
    norm_eval: bool = True,
    with_cp: bool = False,
    init_cfg: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
) -> TimmBackbone:
    """Return a model of timm without classifier that gives its maps, of images of any size.

    Args:
        model: registered name, e.g. ``swin_tiny_patch4_window7_224``.
        checkpoint: weights of pretraining, as any file that :func:`pacavit.weights.read` takes; None starts at random.
        kwargs: keywords of ``timm.create_model``.
        imports: modules that register models with timm.
        drop_path_rate: stochastic depth of the last block.
        pretrained_weights: ``kept``; or ``lost``, which starts at random in spite of the file.
        out_indices: the maps that are given, from 0.
        norm_eval: keep batch norms in evaluation mode, with the statistics of pretraining.
        with_cp: recompute blocks in the backward pass instead of keeping their activations.
        init_cfg: as of :class:`pacavit.openmmlab.backbone.PaCaViTBackbone`.

    Raises:
        PacavitError: timm cannot make it, it has no such maps, or the file is missing or does not fit.
    """
    named = Model(model, model, dict(kwargs or {}), tuple(imports))
    if not out_indices or list(out_indices) != [i for i in range(4) if i in out_indices]:
        raise PacavitError(f"out_indices: {out_indices}; expected stages from 0 to 3 in rising order")
    backbone = _assemble(named, drop_path_rate, out_indices)
    backbone.as_backbone.norm_eval = norm_eval
    for name in _unused(named, out_indices):
        backbone.get_parameter(name).requires_grad_(False)
    if with_cp:
        backbone.set_grad_checkpointing(True)
    if pretrained_weights == "lost":
        backbone.as_backbone.random = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone.begin(checkpoint, pretrained_weights, init_cfg)
    return backbone


def _assemble(model: Model, drop_path: float, out_indices: Sequence[int]) -> TimmBackbone:
    found = variants.maps(model)
    made = variants.create_dense(model, drop_path)
    eps = variants.family(made).norm_eps
    # The model itself, so that the names of its parameters stay.
    made.__class__ = type(TimmBackbone.__name__, (TimmBackbone, type(made)), {})
    made.as_backbone = Options(
        classifier=variants.describe(model)["classifier"],
        indices=[found.indices[i] for i in out_indices],
        norms=[] if eps is None else [f"norm{i}" for i in out_indices],
    )
    for name, i in zip(made.as_backbone.norms, out_indices, strict=False):
        made.add_module(name, LayerNorm2d(found.channels[i], eps=eps))
    return made


def _unused(model: Model, out_indices: Sequence[int]) -> list[str]:
    """Return the names of the parameters that no map depends on, which data-parallel training would wait for."""
    with torch.device("meta"):
        twin = _assemble(model, 0.0, out_indices).eval()
        total = sum(one.sum() for one in twin(torch.empty(1, 3, _SIDE, _SIDE)))
    named = dict(twin.named_parameters())
    gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    return [name for name, gradient in zip(named, gradients, strict=True) if gradient is None]
