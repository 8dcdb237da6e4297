"""Pairs of folders of images and label maps, packed as the archive of ADE20K."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from PIL import Image
from tqdm import tqdm

from pacavit.data import pictures
from pacavit.data.ade20k import CLASSES, IGNORED, SPLITS, TOP
from pacavit.data.ade20k import outputs as network_outputs
from pacavit.data.archives import SOURCES, add_to_zip, new_zip, sources_text
from pacavit.data.classes import check_names
from pacavit.data.folders.files import (
    Picture,
    Skipped,
    contents,
    in_parallel,
    look,
    refuse,
    report_changes,
    walk,
)
from pacavit.errors import PacavitError
from pacavit.files import listed, printable, read_source
from pacavit.params.data import Ade20kFolder, LabelledFolder
from pacavit.runtime.progress import report

#: What is no label by custom, beside 0.
_VOID = 255


@dataclass(frozen=True)
class Pair:
    """An image and the file of its label map."""

    image: Picture
    labels: Path


def pack(outputs: Mapping[str, Path], source: Ade20kFolder) -> None:
    """Write the archive; pairs are numbered in the order of their paths.

    Raises:
        PacavitError: a folder is missing, empty or meant for two things, an image or a label map cannot be read, they
            do not fit together, or there is nothing to learn.
    """
    check_names(source.classes, "data.yaml: ade20k.archives.classes")
    _check_folders(source)
    pairs = {split: _pairs(source, split) for split in SPLITS}
    seen = set[int]().union(*(_check_labels(pairs[split], source, split) for split in SPLITS))
    if not source.model_fields_set & {"first_class", "ignored"}:
        _require_one_reading(seen, len(source.classes))
    files: dict[str, Path] = {}
    with new_zip(outputs["all"]) as archive:
        for split in SPLITS:
            files |= _write(archive, split, pairs[split], source)
        add_to_zip(archive, TOP + CLASSES, class_table(source.classes).encode())
        add_to_zip(archive, SOURCES, sources_text(files))


def _write(archive: ZipFile, split: str, pairs: Sequence[Pair], source: Ade20kFolder) -> dict[str, Path]:
    """Write the pairs of a split, and return the user's file by the name of each packed one."""
    files = {}
    with closing(contents([pair.image for pair in pairs])) as packed:
        bar = tqdm(packed, desc=f"pack ade20k {split}", total=len(pairs), unit="image", disable=None)
        for number, (pair, (_, content)) in enumerate(zip(pairs, bar, strict=True), start=1):
            stem = f"ADE_{split}_{number:08d}"
            add_to_zip(archive, f"{TOP}images/{SPLITS[split]}/{stem}.jpg", content)
            labels = _official(_labels(pair.labels), source, pair.labels)
            add_to_zip(archive, f"{TOP}annotations/{SPLITS[split]}/{stem}.png", _png(labels))
            files |= {f"{stem}.jpg": pair.image.path, f"{stem}.png": pair.labels}
    return files


def readings(seen: Collection[int], number: int) -> list[tuple[int, list[int]]]:
    """Return what labels may mean by custom: the label of the first class, and those that do not count.

    Args:
        seen: labels in the maps.
        number: of classes.
    """
    unlabelled = [0] if number > 1 else []  # beside a single class, 0 is what does not belong to it
    found = []
    if set(seen) <= set(range(number + 1)):
        found.append((1, unlabelled))
    if 0 in seen and number > 1:
        classes = set(seen) - {_VOID}
        if classes <= set(range(number)):
            found.append((0, sorted(set(seen) & {_VOID})))
        if classes == set(range(number)):
            found = found[-1:]  # each name has its label
        if set(seen) == set(range(number + 1)):
            found.append((0, [number]))
    return found


def _require_one_reading(seen: Collection[int], number: int) -> None:
    """Insist on labels that mean what they do by default.

    Raises:
        PacavitError: they may mean something else.
    """
    found = readings(seen, number)
    if len(found) != 1 or found[0][0] != 1:
        ways = " or ".join(f"first_class: {first}, ignored: {none}" for first, none in found)
        labels = listed([str(label) for label in sorted(seen)])
        raise PacavitError(
            f"data.yaml: ade20k.archives: labels {labels} are seen with {number} classes, and it is not said what 0 "
            f"is; set {ways} in data.yaml"
        )


def class_table(names: Sequence[str]) -> str:
    """Return the table of classes in the official form: number, ratio, counts and name, by tabs."""
    rows = [f"{number}\t0\t0\t0\t{name}" for number, name in enumerate(names, start=1)]
    return "\n".join(["Idx\tRatio\tTrain\tVal\tName", *rows]) + "\n"


def _check_folders(source: Ade20kFolder) -> None:
    """Refuse folders of which it is not clear which files are images, which label maps, and of which split.

    Raises:
        PacavitError: it is so.
    """
    for split, other in itertools.product(SPLITS, SPLITS):
        images, labels = getattr(source, split).images, getattr(source, other).labels
        if os.path.realpath(images) == os.path.realpath(labels):
            raise PacavitError(
                f"{images}: is {split}.images and {other}.labels; move the label maps to a folder of their own"
            )
        inner = getattr(source, other).images
        if Path(os.path.realpath(images)) in Path(os.path.realpath(inner)).parents:
            raise PacavitError(
                f"{images}: is {split}.images and holds {inner}, which is {other}.images; name folders beside each "
                "other"
            )


def _pairs(source: Ade20kFolder, split: str) -> list[Pair]:
    """Return the pairs of a split, of which the images were read, and say what else is there."""
    folders: LabelledFolder = getattr(source, split)
    folder, skipped = Path(folders.images), Skipped()
    if not folder.is_dir():
        raise PacavitError(f"{folder}: no such folder; set {split}.images in data.yaml")
    files = walk(folder, skipped, without=[Path(source.train.labels), Path(source.val.labels)])
    images = look(files, skipped, str(folder))
    if not images:
        raise PacavitError(f"{folder}: no images in it; set the folder of images in data.yaml")
    if not Path(folders.labels).is_dir():
        raise PacavitError(f"{folders.labels}: no such folder; set {split}.labels in data.yaml")
    pairs = [
        Pair(image, Path(folders.labels) / image.path.relative_to(folder).with_suffix(".png"))
        for image in images
    ]
    _check_names(pairs)
    labelled = {pair.labels for pair in pairs}
    for path in walk(Path(folders.labels), Skipped()):
        if path not in labelled:
            skipped.add("without an image", path)
    skipped.report(f"{split} {folder}")
    report_changes(images, f"{split} {folder}")
    return pairs


def _check_names(pairs: Sequence[Pair]) -> None:
    """Insist on one label map for each image.

    Raises:
        PacavitError: one is missing, or belongs to two images.
    """
    first: dict[Path, Path] = {}
    for pair in pairs:
        if pair.labels in first:
            raise PacavitError(
                f"{first[pair.labels]} and {pair.image.path}: have the same label map, {pair.labels}; rename or remove "
                "one, or keep label maps in a folder of their own"
            )
        first[pair.labels] = pair.image.path
    missing = [
        PacavitError(f"{pair.labels}: missing, and {pair.image.path} needs it; add it, or remove the image")
        for pair in pairs
        if not pair.labels.is_file()
    ]
    refuse(missing, f"{len(missing)} label maps are missing")


def _check_labels(pairs: Sequence[Pair], source: Ade20kFolder, split: str) -> set[int]:
    """Read every label map, and return the official labels in them.

    Raises:
        PacavitError: one cannot be read, has another size than its image or a label that is no class, or no class is in
            any.
    """
    folder = getattr(source, split).labels
    found = in_parallel(partial(_classes_in, source), pairs, f"labels {split}")
    errors = [classes for classes in found if isinstance(classes, PacavitError)]
    refuse(errors, f"{len(errors)} label maps of {split} cannot be used")
    if not any(1 <= label < IGNORED for classes in found for label in classes):
        raise PacavitError(
            f"{folder}: no pixel of any class in the {len(pairs)} label maps of {split}; set first_class (now "
            f"{source.first_class}) and ignored (now {sorted(source.no_label)}) in data.yaml as the maps have them"
        )
    ignored = IGNORED if network_outputs(source.classes)[1] == 0 else 0
    empty = [pair.labels for pair, classes in zip(pairs, found, strict=True) if classes <= {ignored}]
    if empty:
        report(f"{folder}: {len(empty):,} of {len(pairs):,} label maps have no label: {listed(empty)}")
    return set[int]().union(*found)


def _classes_in(source: Ade20kFolder, pair: Pair) -> set[int] | PacavitError:
    """Return which official labels a map has, or why it cannot be used."""
    try:
        labels = _labels(pair.labels)
        size = labels.shape[1::-1]
        if size != pair.image.size:
            return PacavitError(_mismatch(pair, size))
        return set(np.unique(_official(labels, source, pair.labels)).tolist())
    except PacavitError as error:
        return error


def _mismatch(pair: Pair, size: tuple[int, int]) -> str:
    labels, image = printable(pair.labels), printable(pair.image.path)
    text = (
        f"{labels}: has {size[0]} × {size[1]} pixels, and {image} {pair.image.size[0]} × {pair.image.size[1]}"
    )
    if "turned upright" in pair.image.changes and size == pair.image.size[::-1]:
        return f"{text} after it was turned upright by its Exif data; save both upright"
    return f"{text}; make them alike"


def _labels(path: Path) -> np.ndarray:
    """Return a label map (H, W) as it is in the file.

    Raises:
        PacavitError: it cannot be read, or has more than one number a pixel.
    """
    image = pictures.load(read_source(path), printable(path))
    if image.format == "JPEG":
        raise PacavitError(
            f"{printable(path)}: is a JPEG, which does not keep numbers; save the labels as PNG"
        )
    if image.mode == "F":
        raise PacavitError(f"{printable(path)}: has floats, and a label map has a whole number a pixel")
    if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
        raise PacavitError(
            f"{printable(path)}: is {image.mode}, and a label map has one number a pixel; save it in grey or with a "
            "palette"
        )
    return np.asarray(image).astype(np.int64)


def _official(labels: np.ndarray, source: Ade20kFolder, path: Path) -> np.ndarray:
    """Return a label map in the official form: classes from 1, 0 where there is no label.

    Beside a single class 0 is what does not belong to it, and :data:`IGNORED` what has no label.

    Raises:
        PacavitError: a label is neither a class nor ignored.
    """
    first, count, ignored = source.first_class, len(source.classes), sorted(source.no_label)
    has_background = network_outputs(source.classes)[1] == 0
    classes = (labels >= first) & (labels < first + count)
    no_label = np.isin(labels, ignored)
    known = classes | no_label
    if has_background:
        known |= labels == 0
    if not known.all():
        unknown = np.unique(labels[~known])
        others = listed([str(label) for label in unknown])
        how = "add names to classes, or set first_class or ignored in data.yaml"
        if has_background and len(unknown) == 1:
            how = f"set first_class: {unknown[0]} if that is {source.classes[0]}, or add it to ignored, in data.yaml"
        also = f", {', '.join(map(str, ignored))} ignored" if ignored else ""
        raise PacavitError(
            f"{printable(path)}: has label {others}, and classes are {first} to {first + count - 1}{also}; {how}"
        )
    found = np.where(classes, labels - first + 1, 0)
    if has_background:
        found[no_label] = IGNORED
    return found.astype(np.uint8)


def _png(labels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(labels).save(file, "PNG")
    return file.getvalue()
