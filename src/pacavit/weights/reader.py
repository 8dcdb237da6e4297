"""The one reader of weights: safetensors, and the ``.pth`` of timm's trainer, of mmengine and of plain torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from pacavit.errors import PacavitError
from pacavit.weights import pickles
from pacavit.weights.formats import format_of, unreadable

#: Entries of a checkpoint that hold weights: of timm's trainer, of mmengine, and of others.
PLAIN = ("state_dict", "model")
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict")

_PREFIX = re.compile(r"^(?:module\.|_orig_mod\.)+")


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a file.

    Attributes:
        weights: tensors by key, without the prefixes of data-parallel training and of ``torch.compile``.
        entry: the entry that held them; None where they are all there is.
        averaged: whether they are the running average (EMA) of a training.
    """

    weights: dict[str, Tensor]
    entry: str | None
    averaged: bool


def read(path: Path, ema: bool = False) -> Checkpoint:
    """Return the weights in a file, on the CPU; no code in it runs.

    Args:
        path: safetensors, or a file that ``torch.save`` wrote with any pickle protocol, whatever its suffix.
        ema: take the averaged weights; otherwise the plain ones where the file has both.

    Raises:
        PacavitError: the file is missing, unreadable, asks for code, or holds no such weights.
    """
    path = Path(path)
    form = format_of(path)
    try:
        content = load_file(path) if form == "safetensors" else pickles.load(path)
    except Exception as error:
        raise unreadable(path, *pickles.reason(error)) from error
    return unwrap(content, ema, str(path))


def unwrap(content: Any, ema: bool = False, source: str = "checkpoint") -> Checkpoint:
    """Return the weights in what a checkpoint holds: a state dict, or one in an entry of a trainer's.

    mmengine's EMA hook swaps when it saves: its ``state_dict`` is then the average, and ``ema_state_dict`` holds
    the plain weights (mmengine 0.10.7, ``EMAHook.before_save_checkpoint``).

    Raises:
        PacavitError: no tensors by key are there, or no averaged ones where those are asked for.
    """
    if not isinstance(content, Mapping):
        raise PacavitError(f"{source}: holds a {type(content).__name__}; expected weights by key")
    plain = [name for name in PLAIN if isinstance(content.get(name), Mapping)]
    averaged = [name for name in AVERAGED if isinstance(content.get(name), Mapping)]
    if {"state_dict", "ema_state_dict"} <= {*plain, *averaged}:
        plain, averaged = ["ema_state_dict"], ["state_dict"]
    if ema and not averaged:
        held = f"only {plain[0]!r}" if plain else "only bare weights"
        raise PacavitError(f"{source}: no averaged (EMA) weights in it, {held}; ask for the plain ones")
    entry = next(iter(averaged if ema else [*plain, *averaged]), None)
    weights = content if entry is None else content[entry]
    if entry == "ema_state_dict":
        weights = {key: value for key, value in weights.items() if key != "steps"}  # mmengine's counter
    for key, value in weights.items():
        if not isinstance(key, str):
            raise PacavitError(f"{source}: its key {key!r} is no string; expected tensors by name")
        if (fault := _fault(value)) is not None:
            raise PacavitError(f"{source}: {key!r} is {fault}")
    if not weights:
        raise PacavitError(f"{source}: no weights in it; expected tensors by key")
    stripped = {_PREFIX.sub("", key): value.detach() for key, value in weights.items()}
    if len(stripped) < len(weights):
        raise PacavitError(
            f"{source}: has keys both with and without `module.`, which are one; make it again"
        )
    return Checkpoint(stripped, entry, entry in averaged)


def backbone_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under the backbone's own keys: a dense model has them under ``backbone.``."""
    if not any(key.startswith("backbone.") for key in weights):
        return dict(weights)
    return {k.removeprefix("backbone."): v for k, v in weights.items() if k.startswith("backbone.")}


def _fault(value: Any) -> str | None:
    """Return what is wrong with a weight, or None: one is a plain tensor of real numbers that are all stored."""
    if not isinstance(value, Tensor):
        return (
            "no tensor; expected tensors by key, as they are or under one of "
            f"{', '.join((*PLAIN, *AVERAGED))}"
        )
    kinds = {
        "nested": value.is_nested,
        "sparse": value.layout is not torch.strided,
        "quantised": value.is_quantized,
        "meta": value.is_meta,
        "complex": value.is_complex(),
    }
    if kind := next((name for name, holds in kinds.items() if holds), None):
        return f"a {kind} tensor; expected a plain one, so save the weights again as such"
    stored = value.untyped_storage().nbytes() // value.element_size()
    if value.numel() > stored:
        return (
            f"an expanded tensor of {value.numel():,} values, of which {stored:,} are stored; "
            "save a contiguous() copy of it"
        )
    return None
