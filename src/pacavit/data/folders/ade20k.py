"""Pairs of folders of images and label maps, packed as the archive of ADE20K."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from pacavit.data.ade20k import CLASSES, SPLITS, TOP
from pacavit.data.archives import add_to_zip, new_zip
from pacavit.data.folders.upright import check_upright
from pacavit.errors import PacavitError
from pacavit.params.data import Ade20kFolder, LabelledFolder


def pack(outputs: Mapping[str, Path], source: Ade20kFolder) -> None:
    """Write the archive; pairs are numbered in the order of their names.

    Raises:
        PacavitError: a folder is missing or empty, or an image has no label map.
    """
    with new_zip(outputs["all"]) as archive:
        for split, name in SPLITS.items():
            pairs = _pairs(getattr(source, split))
            for number, (image, labels) in enumerate(
                tqdm(pairs, desc=f"pack ade20k {split}", unit="image", disable=None), start=1
            ):
                stem, content = f"ADE_{split}_{number:08d}", image.read_bytes()
                check_upright(content, image)
                add_to_zip(archive, f"{TOP}images/{name}/{stem}.jpg", content)
                add_to_zip(archive, f"{TOP}annotations/{name}/{stem}.png", labels.read_bytes())
        add_to_zip(archive, TOP + CLASSES, class_table(source.classes).encode())


def class_table(names: Sequence[str]) -> str:
    """Return the table of classes in the official form: number, ratio, counts and name, by tabs."""
    rows = [f"{number}\t0\t0\t0\t{name}" for number, name in enumerate(names, start=1)]
    return "\n".join(["Idx\tRatio\tTrain\tVal\tName", *rows]) + "\n"


def _pairs(source: LabelledFolder) -> list[tuple[Path, Path]]:
    folder = Path(source.images)
    images = sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))
    if not images:
        raise PacavitError(f"{folder}: no images in it; set the folder of images in data.yaml")
    pairs = [(image, Path(source.labels) / f"{image.stem}.png") for image in images]
    for image, labels in pairs:
        if not labels.is_file():
            raise PacavitError(f"{labels}: missing, and {image} needs it; add it, or remove the image")
    return pairs
