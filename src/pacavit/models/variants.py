"""The one place where a variant becomes a model: any of timm's that has four maps at strides 4, 8, 16 and 32.

A variant is a registered name with keywords (:class:`pacavit.params.targets.Model`). What differs between families of
models in dense tasks, beside PaCa-ViT, stands in :data:`FAMILIES`.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import convnext, get_pretrained_cfg, pvt_v2, swin_transformer
from timm.models.swin_transformer import SwinTransformerBlock, window_partition, window_reverse
from torch import Tensor, nn
from torch.nn import functional as F

import pacavit.models.paca_vit  # noqa: F401, registers its variants
from pacavit.errors import PacavitError
from pacavit.params.targets import Model

STRIDES = (4, 8, 16, 32)
#: Entry points of installed packages that register models.
ENTRY_POINTS = "pacavit.models"
#: Sizes at which a model has to give its maps, height and width in pixels: as in pretraining, and as in a dense task.
_TRIED = ((224, 224), (96, 160))


@dataclass(frozen=True)
class Family:
    """What a dense task has to know of a family of models, from the family's own dense code.

    Attributes:
        any_size: keywords of the constructor by which a model of fixed image size takes others.
        norm_eps: of the layer norm that each map passes; None for no norm.
        undecayed: parts of names of parameters, of the heads too, that weight decay leaves out; None for all vectors of
            the backbone.
    """

    any_size: dict[str, Any] = field(default_factory=dict)
    norm_eps: float | None = None
    undecayed: tuple[str, ...] | None = ("norm",)


#: By the class of timm's models. Another has no norms, and does not decay what its ``no_weight_decay`` names.
FAMILIES: dict[type[nn.Module], Family] = {
    # mmdetection's and mmsegmentation's configurations of Swin. Windows are whole at every size, as there.
    swin_transformer.SwinTransformer: Family(
        any_size={"always_partition": True, "strict_img_size": False},
        norm_eps=1e-5,
        undecayed=("absolute_pos_embed", "relative_position_bias_table", "norm"),
    ),
    # mmdetection's of PVTv2, whose stages end with a norm and whose parameters are all decayed.
    pvt_v2.PyramidVisionTransformerV2: Family(undecayed=()),
    # mmpretrain's ConvNeXt in mmsegmentation's configurations, whose constructor of groups decays no vector.
    convnext.ConvNeXt: Family(norm_eps=1e-6, undecayed=None),
}
_OTHER = Family()


def family(model: nn.Module) -> Family:
    """Return what dense tasks have to know of a model."""
    return next((found for kind, found in FAMILIES.items() if isinstance(model, kind)), _OTHER)


@dataclass(frozen=True)
class Maps:
    """The four maps of a model.

    Attributes:
        indices: theirs, as of ``forward_intermediates``.
        channels: of each.
    """

    indices: tuple[int, ...]
    channels: tuple[int, ...]


def create(
    model: Model,
    num_classes: int,
    drop_path: float | None = None,
    image_size: int | None = None,
    **kwargs: Any,
) -> nn.Module:
    """Return a variant as a classifier with random weights.

    Args:
        model: which one.
        num_classes: of the classifier; 0 for none.
        drop_path: stochastic depth of the last block; None for the model's own.
        image_size: side of the images, pixels; a model of fixed size is made for it.
        kwargs: further keywords, which those of the variant do not replace.

    Raises:
        PacavitError: a module of ``imports`` fails, or timm has no such model or cannot make it with these keywords.
    """
    import_modules(model.imports)
    if not timm.is_model(model.model):
        names = timm.list_models()
        near = get_close_matches(model.model, names, n=1)
        hint = (
            f"did you mean {near[0]!r}?"
            if near
            else "name one of timm, or register it in a module of imports"
        )
        raise PacavitError(f"variant {model.variant!r}: {model.model!r} is not a registered model; {hint}")
    cfg = get_pretrained_cfg(model.model, allow_unregistered=True)
    keywords = {**model.kwargs, **kwargs}
    if image_size is not None and cfg is not None and cfg.fixed_input_size:
        keywords.setdefault("img_size", image_size)
    if drop_path is not None:
        keywords["drop_path_rate"] = drop_path
    try:
        return timm.create_model(model.model, num_classes=num_classes, **keywords)
    except Exception as error:
        if drop_path == 0 and isinstance(error, TypeError) and "drop_path_rate" in str(error):
            return create(model, num_classes, None, image_size, **kwargs)  # it drops no path anyway
        said = f"{type(error).__name__}: {' '.join(str(error).split()).rstrip('.')}"
        raise PacavitError(
            f"variant {model.variant!r}: timm cannot make {model.model} with {_shown(keywords)}: {said}; mend its "
            "kwargs in targets.yaml, or drop_path of a model that has none"
        ) from error


def create_dense(model: Model, drop_path: float = 0.0) -> nn.Module:
    """Return a variant without classifier that takes images of any size.

    Raises:
        PacavitError: as of :func:`create`.
    """
    with torch.device("meta"):
        kind = create(model, 0)
    options = family(kind).any_size
    made = create(model, 0, drop_path, **options)
    if isinstance(made, swin_transformer.SwinTransformer):
        made.patch_embed.dynamic_img_pad = True
        for module in made.modules():
            if type(module) is SwinTransformerBlock:
                module.__class__ = PaddedSwinBlock
    return made


class PaddedSwinBlock(SwinTransformerBlock):
    """A block of Swin that pads the map to whole windows before it shifts them, as the published dense code does.

    timm's own shifts first, which gives other neighbours where the map is not a whole number of windows.
    """

    def _attn(self, x: Tensor) -> Tensor:
        _, height, width, _ = x.shape
        down, right = (-side % window for side, window in zip((height, width), self.window_size, strict=True))
        x = F.pad(x, (0, 0, 0, right, 0, down))
        if any(self.shift_size):
            x = torch.roll(x, shifts=[-shift for shift in self.shift_size], dims=(1, 2))
        windows = window_partition(x, self.window_size).flatten(1, 2)
        windows = self.attn(windows, mask=self.get_attn_mask(x)).unflatten(1, self.window_size)
        x = window_reverse(windows, self.window_size, x.shape[1], x.shape[2])
        if any(self.shift_size):
            x = torch.roll(x, shifts=self.shift_size, dims=(1, 2))
        return x[:, :height, :width]


def decay_multipliers(model: Model) -> dict[str, dict[str, float]]:
    """Return mmengine's multipliers of weight decay in a dense task, by part of a parameter's name."""
    named = _OTHER.undecayed if model.is_paca else describe(model)["undecayed"]
    return {name: {"decay_mult": 0.0} for name in named}


def maps(model: Model) -> Maps:
    """Return the four maps of a variant.

    Raises:
        PacavitError: it has not exactly these, as of :func:`describe`.
    """
    found = describe(model)
    return Maps(tuple(found["indices"]), tuple(found["channels"]))


def describe(model: Model) -> dict[str, Any]:
    """Return what is known of a variant without weights, as plain values.

    ``module`` is that which registers it, ``indices`` and ``channels`` are those of its maps, ``classifier`` is the
    name of its last layer, ``undecayed`` are the parts of names by which a dense task leaves parameters without weight
    decay, and ``parameters`` is the number of these with 1000 classes.

    Raises:
        PacavitError: it cannot be made, or has no four maps at strides 4, 8, 16 and 32 of images of any size.
    """
    return json.loads(_describe(json.dumps([model.variant, model.model, model.kwargs, model.imports])))


@cache
def _describe(key: str) -> str:
    variant, name, kwargs, imports = json.loads(key)
    model = Model(variant, name, kwargs, tuple(imports))
    with torch.device("meta"):
        whole = create(model, 1000).eval()
        found = _find_maps(model, whole)
        dense = create_dense(model).eval()
    for size in _TRIED:
        _try(model, dense, found, size)
    return json.dumps(
        {
            "module": timm.models.model_entrypoint(name).__module__,
            "indices": found.indices,
            "channels": found.channels,
            "classifier": _classifier(model, whole),
            "undecayed": _undecayed(dense),
            "parameters": sum(p.numel() for p in whole.parameters()),
        }
    )


def _find_maps(model: Model, made: nn.Module) -> Maps:
    known = getattr(made, "feature_info", None)
    info = list(getattr(known, "info", known) or [])
    strides = [entry.get("reduction") for entry in info]
    told = ", ".join(map(str, dict.fromkeys(strides))) or "that feature_info does not tell"
    what = f"variant {model.variant!r}: {model.model} has"
    if missing := [stride for stride in STRIDES if stride not in strides]:
        raise PacavitError(
            f"{what} maps at strides {told}, and none at {', '.join(map(str, missing))}; take a model with maps at 4, "
            "8, 16 and 32"
        )
    if not hasattr(made, "forward_intermediates"):
        raise PacavitError(
            f"{what} no forward_intermediates, as timm's models have; write one that gives its maps"
        )
    last = {stride: number for number, stride in enumerate(strides)}
    indices = tuple(last[stride] for stride in STRIDES)
    return Maps(indices, tuple(info[number]["num_chs"] for number in indices))


def _try(model: Model, made: nn.Module, found: Maps, size: tuple[int, int]) -> None:
    """See that a model on the meta device gives the maps that its ``feature_info`` promises."""
    shown = "{} x {}".format(*size)
    try:
        with torch.inference_mode():
            given = intermediates(made, torch.empty(1, 3, *size, device="meta"), found.indices)
    except Exception as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:200].rstrip('.')}"
        raise PacavitError(
            f"variant {model.variant!r}: {model.model} gives no maps of an image of {shown} pixels: {said}; take a "
            "model for images of any size"
        ) from error
    expected = [
        (1, channels, *(side // stride for side in size))
        for channels, stride in zip(found.channels, STRIDES, strict=True)
    ]
    if [tuple(one.shape) for one in given] != expected:
        shapes = ", ".join("x".join(map(str, one.shape[1:])) for one in given)
        raise PacavitError(
            f"variant {model.variant!r}: {model.model} gives maps {shapes} of an image of {shown} pixels, other than "
            "its feature_info says; mend that"
        )


def _undecayed(made: nn.Module) -> list[str]:
    named = family(made).undecayed
    if named is None:
        return [f"backbone.{name}" for name, p in made.named_parameters() if p.ndim < 2]
    own = made.no_weight_decay() if family(made) is _OTHER and hasattr(made, "no_weight_decay") else ()
    return [*named, *(f"backbone.{name}" for name in sorted(own))]


def intermediates(made: nn.Module, images: Tensor, indices: Iterable[int]) -> list[Tensor]:
    """Return maps (B, C, H, W) of images, without the norms that timm puts behind some."""
    return made.forward_intermediates(
        images, indices=list(indices), norm=False, stop_early=True, output_fmt="NCHW", intermediates_only=True
    )


def _classifier(model: Model, made: nn.Module) -> str:
    layer = made.get_classifier() if hasattr(made, "get_classifier") else None
    for name, module in made.named_modules():
        if module is layer:
            return name
    raise PacavitError(
        f"variant {model.variant!r}: {model.model} names no classifier; write get_classifier, as timm's models have"
    )


def import_modules(names: Iterable[str]) -> None:
    """Import the user's modules, and those of installed packages, that register models with timm.

    Modules are looked for in the current folder, the project's root, before all others.

    Raises:
        PacavitError: one of them fails.
    """
    _import_entry_points()
    root = str(Path.cwd())
    for name in names:
        if name in sys.modules:
            continue
        sys.path.insert(0, root)
        try:
            importlib.import_module(name)
        except Exception as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise PacavitError(
                f"targets.yaml: imports: {name}: {said}; expected a module that can be imported from {root}"
            ) from error
        finally:
            sys.path.remove(root)


@cache
def _import_entry_points() -> None:
    for point in entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        except Exception as error:
            raise PacavitError(
                f"entry point {ENTRY_POINTS}: {point.name} = {point.value}: {type(error).__name__}: {error}; mend or "
                "remove that package"
            ) from error


def _shown(keywords: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in keywords.items()) or "no keywords"
