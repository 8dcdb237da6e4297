"""Training states on disk: written whole or not at all, checked by hash, and kept to a bounded number."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pacavit.errors import PacavitError
from pacavit.files import atomic_file, sha256
from pacavit.runtime.distributed import is_main
from pacavit.runtime.progress import report

KEEP = 2

# Beside the tensors: names, headers and what the file system itself needs.
_SPARE_BYTES = 16 << 20


def save(folder: Path, state: dict[str, Any], step: int, keep: int = KEEP) -> Path:
    """Write the state after ``step`` steps; only then remove the oldest beyond ``keep``.

    Args:
        folder: the job's work folder.
        state: tensors and plain values only, since loading unpickles nothing else.
        step: number of finished steps.

    Raises:
        PacavitError: there is no room for it; older states stay.
    """
    path = Path(folder) / f"step-{step:09d}.pt"
    _check_room(path, _bytes(state))
    with atomic_file(path) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:
            # torch's writer says so of a full disk, and of nothing else that may happen here.
            raise PacavitError(f"{path}: cannot be written ({error}); {_ADVICE}") from error
        digest = sha256(temporary)
    with atomic_file(_digest(path)) as temporary:
        temporary.write_text(digest)
    for old in states(folder)[:-keep]:
        _digest(old).unlink(missing_ok=True)
        old.unlink()
    return path


def load_latest(folder: Path) -> dict[str, Any] | None:
    """Return the newest state whose hash holds, or None if there is none; say which ones do not hold.

    What a kill left half written is removed.
    """
    if is_main():
        for left in Path(folder).glob(".step-*"):
            left.unlink()
    for path in reversed(states(folder)):
        digest = _digest(path)
        if digest.is_file() and digest.read_text() == sha256(path):
            return torch.load(path, map_location="cpu", weights_only=True)
        report(f"{path}: damaged or not written to its end, so the state before it is taken")
    return None


def states(folder: Path) -> list[Path]:
    """Return the states in a folder, the oldest first."""
    return sorted(Path(folder).glob("step-*.pt"))


_ADVICE = "free space, then the same command goes on from the last state"


def _check_room(path: Path, needed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < needed + _SPARE_BYTES:
        raise PacavitError(
            f"{path}: a state takes {needed / 1e6:.0f} MB and {free / 1e6:.0f} MB are free; {_ADVICE}"
        )


def _bytes(value: Any) -> int:
    """Return the bytes of all tensors in nested containers."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(_bytes(item) for item in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return sum(_bytes(item) for item in value)
    return 0


def _digest(path: Path) -> Path:
    return path.with_suffix(".sha256")
