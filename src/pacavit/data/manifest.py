"""The manifest of a prepared data set: its classes, its counts and the hash of every file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pacavit.data.registry import DATASETS
from pacavit.errors import PacavitError
from pacavit.files import MANIFEST, json_object, write_json


def write_manifest(
    folder: Path, dataset: str, classes: list[str], counts: dict[str, int], files: Mapping[str, str]
) -> None:
    """Write the manifest of a folder that is otherwise complete.

    Args:
        folder: of the prepared data set.
        dataset: its name.
        classes: their names, by index.
        counts: images by split.
        files: SHA-256 of what the folder holds, by path.
    """
    write_json(
        folder / MANIFEST,
        {
            "dataset": dataset,
            "classes": classes,
            "counts": counts,
            "files": dict(files),
            "official": not differences(dataset, classes, counts),
        },
    )


def differences(dataset: str, classes: list[str], counts: Mapping[str, int]) -> list[str]:
    """Return in words how numbers of images and classes differ from those of the official data set."""
    info = DATASETS[dataset]
    found = [
        f"{counts[split]:,} {split} images, not {official:,}"
        for split, official in info.counts.items()
        if counts[split] != official
    ]
    if len(classes) != info.num_classes:
        found.append(f"{len(classes)} classes, not {info.num_classes}")
    return found


def check_official(dataset: str, classes: list[str], counts: Mapping[str, int], scale: str) -> None:
    """Insist on the official numbers.

    Raises:
        PacavitError: they differ.
    """
    if found := differences(dataset, classes, counts):
        raise PacavitError(
            f"{dataset}: {', '.join(found)} as in {DATASETS[dataset].title}; fetch the archives again, or set "
            f"{dataset}.prepare.complete: false in params/{scale}/data.yaml for a part of it or data of your own"
        )


def read_manifest(folder: Path) -> dict:
    """Return the manifest of a prepared data set.

    Raises:
        PacavitError: there is none, or it is damaged.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise PacavitError(f"{folder}: not a prepared data set (no {MANIFEST} in it); run `pacavit prepare`")
    manifest = json_object(path)
    if not manifest:
        raise PacavitError(f"{path}: damaged or empty; remove {folder} and run `pacavit prepare` again")
    return manifest
