"""Training states on disk: written whole or not at all, checked by hash, and kept to a bounded number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pacavit.files import atomic_file, sha256

KEEP = 2


def save(folder: Path, state: dict[str, Any], step: int, keep: int = KEEP) -> Path:
    """Write the state after ``step`` steps; only then remove the oldest beyond ``keep``.

    Args:
        folder: the job's work folder.
        state: tensors and plain values only, since loading unpickles nothing else.
        step: number of finished steps.
    """
    path = Path(folder) / f"step-{step:09d}.pt"
    with atomic_file(path) as temporary:
        torch.save(state, temporary)
        digest = sha256(temporary)
    with atomic_file(_digest(path)) as temporary:
        temporary.write_text(digest)
    for old in _states(folder)[:-keep]:
        _digest(old).unlink(missing_ok=True)
        old.unlink()
    return path


def load_latest(folder: Path) -> dict[str, Any] | None:
    """Return the newest state whose hash holds, or None if there is none."""
    for path in reversed(_states(folder)):
        digest = _digest(path)
        if digest.is_file() and digest.read_text() == sha256(path):
            return torch.load(path, map_location="cpu", weights_only=True)
    return None


def _states(folder: Path) -> list[Path]:
    return sorted(Path(folder).glob("step-*.pt"))


def _digest(path: Path) -> Path:
    return path.with_suffix(".sha256")
