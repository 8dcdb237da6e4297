"""Which weights of a file fit a model, key by key."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from pacavit.errors import PacavitError
from pacavit.weights.reader import Checkpoint, read

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Fit:
    """A file's keys and shapes against a model's, each in alphabetical order.

    Attributes:
        matched: keys of both, of one shape.
        missing: keys of the model alone.
        unknown: keys of the file alone.
        misfit: the shapes in the file and in the model, of the keys where they differ.
        mistyped: the types in the file and in the model, of the keys of one shape where the model has real numbers and
            the file has none: integers are quantised weights without their scale.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    misfit: dict[str, tuple[Shape, Shape]]
    mistyped: dict[str, tuple[torch.dtype, torch.dtype]] = field(default_factory=dict)

    @classmethod
    def of(cls, own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Fit:
        """Compare the state dict ``own`` of a model, which may be on the meta device, with a file's weights."""
        both = sorted(own.keys() & weights.keys())
        shapes = {key: (tuple(weights[key].shape), tuple(own[key].shape)) for key in both}
        alike = [key for key in both if shapes[key][0] == shapes[key][1]]
        types = {key: (weights[key].dtype, own[key].dtype) for key in alike}
        mistyped = {
            key: (theirs, ours)
            for key, (theirs, ours) in types.items()
            if ours.is_floating_point and not theirs.is_floating_point
        }
        return cls(
            matched=tuple(key for key in alike if key not in mistyped),
            missing=tuple(sorted(own.keys() - weights.keys())),
            unknown=tuple(sorted(weights.keys() - own.keys())),
            misfit={key: shapes[key] for key in both if key not in types},
            mistyped=mistyped,
        )

    def problems(self, allowed: Collection[str] = ()) -> list[str]:
        """Return one phrase a key that does not fit; a key of ``allowed`` may have another shape."""
        found = {key: f"{key} missing" for key in self.missing}
        found |= {key: f"{key} unknown" for key in self.unknown}
        found |= {
            key: f"{key} is {theirs}, not {own}"
            for key, (theirs, own) in self.misfit.items()
            if key not in allowed
        }
        found |= {key: f"{key} is {theirs}, not {own}" for key, (theirs, own) in self.mistyped.items()}
        return [found[key] for key in sorted(found)]

    def require(self, source: Path | str, model: str, allowed: Collection[str] = ()) -> None:
        """Do nothing if all fits.

        Args:
            source: the file.
            model: what it has to fit, in words.
            allowed: keys that may have another shape.

        Raises:
            PacavitError: something does not fit; the first five of it are named.
        """
        if problems := self.problems(allowed):
            rest = ", …; `pacavit checkpoint inspect` lists them all" if len(problems) > 5 else ""
            shown = ", ".join(problems[:5])
            raise PacavitError(f"{source}: does not fit {model} in {len(problems)} places: {shown}{rest}")


def not_finite(weights: Mapping[str, Tensor]) -> dict[str, int]:
    """Return how many values are NaN or infinite, of the keys that have some."""
    counts = {
        # torch has no isfinite for types of one byte.
        key: value.numel() - int((value.float() if value.element_size() == 1 else value).isfinite().sum())
        for key, value in weights.items()
        if value.is_floating_point()
    }
    return {key: count for key, count in counts.items() if count}


def require_finite(source: Path | str, weights: Mapping[str, Tensor]) -> None:
    """Do nothing if all weights are finite.

    Raises:
        PacavitError: some are not; the first key is named.
    """
    if found := not_finite(weights):
        key = next(iter(found))
        raise PacavitError(
            f"{source}: {key} is not finite: {found[key]} of {weights[key].numel()} values are NaN or infinite, in "
            f"{len(found)} of {len(weights)} tensors; take weights of an earlier state or train again"
        )


def load(model: nn.Module, path: Path, ema: bool = False) -> Checkpoint:
    """Put the weights of a file into a model, all of them or none.

    Raises:
        PacavitError: as of :func:`read`, a key is missing, unknown or of another shape, or a number is not finite.
    """
    checkpoint = read(path, ema)
    Fit.of(model.state_dict(), checkpoint.weights).require(path, type(model).__name__)
    require_finite(path, checkpoint.weights)
    model.load_state_dict(checkpoint.weights)
    return checkpoint
