"""The manifest of a prepared data set: its classes, its counts and the hash of every file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pacavit.data.archives import user_files
from pacavit.data.registry import DATASETS
from pacavit.errors import PacavitError
from pacavit.files import MANIFEST, printable, write_json
from pacavit.runtime.progress import report

#: Shared images that a message names.
_NAMED = 20


def write_manifest(
    folder: Path,
    dataset: str,
    classes: list[str],
    counts: dict[str, int],
    files: Mapping[str, str],
    **facts: Any,
) -> None:
    """Write the manifest of a folder that is otherwise complete.

    Args:
        folder: of the prepared data set.
        dataset: its name.
        classes: their names, by index.
        counts: images by split.
        files: SHA-256 of what the folder holds, by path.
        facts: what else readers of this data set need, as JSON types.
    """
    write_json(
        folder / MANIFEST,
        {
            "dataset": dataset,
            "classes": classes,
            "counts": counts,
            "files": dict(files),
            "official": not differences(dataset, classes, counts),
            **facts,
        },
    )


def shared_images(
    dataset: str, train: Mapping[str, str], val: Mapping[str, str], sources: Path | None = None
) -> int:
    """Return how many validation images are training images as well, to the byte, and say which.

    Args:
        dataset: its name.
        train, val: hash of each image's content, by its name.
        sources: archive that may tell which files of the user's they were.
    """
    known = {content: name for name, content in train.items()}
    shared = {name: known[content] for name, content in val.items() if content in known}
    if shared:
        names = list(shared)[:_NAMED]
        users = {} if sources is None else user_files(sources, {*names, *(shared[name] for name in names)})
        pairs = [
            f"{printable(users.get(name, name))} = {printable(users.get(other, other))}"
            for name, other in ((name, shared[name]) for name in names)
        ]
        more = f" and {len(shared) - _NAMED:,} more" if len(shared) > _NAMED else ""
        report(
            f"prepare {dataset}: {len(shared):,} of {len(val):,} validation images are training images as well, so the "
            f"measured numbers will be too good: {', '.join(pairs)}{more}"
        )
    return len(shared)


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
        PacavitError: there is none.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise PacavitError(f"{folder}: not a prepared data set (no {MANIFEST} in it); run `pacavit prepare`")
    return json.loads(path.read_text())
