"""The manifest of a prepared data set: its classes, its counts and the hash of every file."""

from __future__ import annotations

import json
from pathlib import Path

from pacavit.errors import PacavitError
from pacavit.files import MANIFEST, sha256, write_json


def write_manifest(folder: Path, dataset: str, classes: list[str], counts: dict[str, int]) -> None:
    """Write the manifest of a folder that is otherwise complete."""
    hashes = {
        str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }
    write_json(folder / MANIFEST, {"dataset": dataset, "classes": classes, "counts": counts, "files": hashes})


def read_manifest(folder: Path) -> dict:
    """Return the manifest of a prepared data set.

    Raises:
        PacavitError: there is none.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise PacavitError(f"{folder}: not a prepared data set (no {MANIFEST} in it); run `pacavit prepare`")
    return json.loads(path.read_text())
