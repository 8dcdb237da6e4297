"""A scale for the user's own images, made from another scale and from the images themselves."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from math import ceil
from operator import getitem
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from pacavit import params, paths
from pacavit.data import annotations
from pacavit.data.classes import read_names
from pacavit.data.folders import ade20k
from pacavit.data.folders.files import Skipped, entries
from pacavit.data.folders.imagenet import check_class_folders
from pacavit.data.protection import require_all_apart
from pacavit.errors import PacavitError
from pacavit.files import atomic_directory, printable, read_source
from pacavit.planning import amounts

#: Images that are opened for their sizes, and label maps that are read.
_LOOKED_AT = 200
_SPLITS = ("train", "val")
#: Of Exif, and its values from which on height and width are exchanged.
_ORIENTATION, _EXCHANGED = 0x0112, 5
#: Share of each class that validates where there is no ``val``.
_VAL_FRACTION = 0.2
#: Longest side of a training image, by the scale that is copied: the miniature's model is for a CPU.
_SIDES = {"mini": {"imagenet": 96, "dense": 256}, "paper": {"imagenet": 224, "dense": 800}}
#: Passes over images of a training, likewise, and the epochs that they may be.
_PASSES = {"mini": {"imagenet": 60_000, "coco": 6_000}, "paper": {"imagenet": 3_000_000, "coco": 600_000}}
_EPOCHS = {"imagenet": (10, 300), "coco": (6, 60)}


@dataclass
class Look:
    """What was seen of a data set.

    Attributes:
        archives: section of ``data.yaml``.
        images: by split.
        classes: how many.
        size: shorter and longer side of a typical image, pixels.
        gigabytes: of all files.
        objects: most objects of an image, for detection.
        notes: what a user should check.
    """

    archives: dict[str, Any]
    images: Mapping[str, int]
    classes: int
    size: tuple[int, int]
    gigabytes: float
    objects: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """One line about it."""
        counts = " and ".join(f"{number:,} {split}" for split, number in self.images.items())
        return f"{counts} images, {self.classes} classes, about {self.size[1]} × {self.size[0]} pixels"


def new(
    scale: str,
    like: str,
    images: Path | None = None,
    coco: Sequence[Path] = (),
    segmentation: Sequence[Path] = (),
    classes: Path | None = None,
    first_class: int | None = None,
    ignored: Sequence[int] = (),
) -> str:
    """Write the pages of a new scale; return what was seen, and what to type next.

    Args:
        scale: its name.
        like: the scale that it is copied from, ``mini`` or ``paper``.
        images: folder with a folder of images a class, or with such folders below ``train`` and ``val``.
        coco: folder of images and COCO's JSON, for training and for validation.
        segmentation: folder of images and folder of label maps, likewise.
        classes: text with the name of a class a line, for segmentation.
        first_class: label of the first class.
        ignored: labels of pixels that do not count.

    Raises:
        PacavitError: there is such a scale, a path is missing or holds no such data, or it is not clear what labels
            mean.
    """
    paths.require_project()
    params.check_name(scale)
    folder = paths.path(paths.PARAMS, scale=scale, page="targets").parent
    if folder.exists():
        raise PacavitError(f"{folder}: there already; choose another name, or edit its pages")
    base = params.load(like)
    looks = {}
    if images is not None:
        looks["imagenet"] = _look_at_classes(images)
    if coco:
        looks["coco"] = _look_at_coco(*coco)
    if segmentation:
        looks["ade20k"] = _look_at_labels(*segmentation, classes, first_class, ignored)
    source = paths.path(paths.PARAMS, scale=like, page="targets").parent
    with atomic_directory(folder) as temporary:
        for page in params.Params.__annotations__:
            text = _page(source / f"{page}.yaml", _changes(page, scale, like, base, looks), scale, like)
            (temporary / f"{page}.yaml").write_text(text, encoding="utf-8")
        given = params.read(temporary)
        require_all_apart(scale, given.data)
    return _summary(scale, like, looks)


def _summary(scale: str, like: str, looks: Mapping[str, Look]) -> str:
    lines = [f"params/{scale}/ is written, from params/{like}/ and a look at your data:"]
    for dataset, look in looks.items():
        lines += [f"  {dataset}: {look.text}", *(f"    {note}" for note in look.notes)]
    if "imagenet" not in looks:
        what = "handwritten digits" if like == params.DEFAULT_SCALE else "ImageNet"
        lines.append(f"  imagenet: {what} as in params/{like}/, on which the models are pretrained")
    parts = " ".join(f"only_{dataset}" for dataset in looks)
    lines.append(
        f"Look through the pages, `pacavit preflight --scale {scale}`, then `snakemake --cores all {parts} --config "
        f"scale={scale}`"
    )
    return "\n".join(lines)


# What the data are.


def _look_at_classes(folder: Path) -> Look:
    names = _folders(folder)
    split = set(names) >= set(_SPLITS)
    top = folder / "train" if split else folder
    classes = _folders(top)
    check_class_folders(top, classes, to_split=not split)
    archives: dict[str, Any] = {"kind": "folder", "directory": folder.as_posix()}
    if not split:
        archives["val_fraction"] = _VAL_FRACTION
    look = _look(archives, "imagenet", len(classes))
    if split and (others := sorted(set(names) - set(_SPLITS))):
        look.notes.append(f"left out, neither train nor val: {', '.join(map(printable, others))}")
    return look


def _look_at_coco(train: Path, train_json: Path, val: Path, val_json: Path) -> Look:
    archives: dict[str, Any] = {
        "kind": "folder",
        "train": {"images": train.as_posix(), "annotations": train_json.as_posix()},
        "val": {"images": val.as_posix(), "annotations": val_json.as_posix()},
    }
    contents = [annotations.decode(read_source(path), str(path)) for path in (train_json, val_json)]
    images = [str(each.get("image_id")) for each in contents[0]["annotations"] if isinstance(each, dict)]
    _, counts = np.unique(images, return_counts=True)
    look = _look(archives, "coco", len(contents[0]["categories"]))
    look.objects = int(counts.max(initial=0))
    return look


def _look_at_labels(
    train: Path,
    train_labels: Path,
    val: Path,
    val_labels: Path,
    classes: Path | None,
    first_class: int | None,
    ignored: Sequence[int],
) -> Look:
    archives: dict[str, Any] = {
        "kind": "folder",
        "train": {"images": train.as_posix(), "labels": train_labels.as_posix()},
        "val": {"images": val.as_posix(), "labels": val_labels.as_posix()},
    }
    for folder in (train, train_labels, val, val_labels):
        _require(folder)
    shares = _labels(train_labels)
    shown = ", ".join(f"{label} ({share:.1%})" for label, share in shares.items())
    if classes is None:
        raise PacavitError(
            f"{train_labels}: holds labels {shown}; name the classes with --classes FILE, a text with a name a line"
        )
    names = read_names(classes)
    if first_class is None:
        first_class, ignored = _meaning(shares, len(names), ignored, shown, train_labels)
    archives |= {"classes": names, "first_class": first_class, "ignored": sorted(ignored)}
    look = _look(archives, "ade20k", len(names))
    last = first_class + len(names) - 1
    text = f"label {first_class} is {names[0]!r}, {last} is {names[-1]!r}"
    look.notes.append(f"{text}, no class: {', '.join(map(str, sorted(ignored))) or 'none'}; seen: {shown}")
    return look


def _meaning(
    shares: Collection[int], number: int, ignored: Collection[int], shown: str, folder: Path
) -> tuple[int, list[int]]:
    """Return the label of the first class, and those that are none, where there is one way to read them.

    Args:
        shares: labels that were seen.
        number: of classes.
        ignored: labels that are known to be none; without any, that is open too.
        shown: the labels in words.
        folder: that holds the maps.

    Raises:
        PacavitError: there are several, or none.
    """
    found = ade20k.readings(shares, number)
    if ignored:
        found = [(first, none) for first, none in found if set(none) == set(ignored)]
    if len(found) == 1:
        return found[0]
    why = "can be read in several ways" if found else "do not fit"
    ways = " or ".join(
        " ".join([f"--first-class {first}", *(f"--ignored {label}" for label in none)])
        for first, none in found
    )
    raise PacavitError(
        f"{folder}: labels {shown} {why} with {number} names; say "
        f"{ways or 'which label is the first class, and which are none: --first-class, --ignored'}"
    )


def _look(archives: dict[str, Any], dataset: str, classes: int) -> Look:
    """Return a look at a source with its number and sizes of images."""
    data = params.load(params.DEFAULT_SCALE).data.model_dump()
    data[dataset]["archives"] = archives
    try:
        source = getattr(params.DataPage.model_validate(data), dataset).archives
    except ValidationError as error:
        raise PacavitError(params.explain(error, params.DataPage)) from None
    amount = amounts.of_folder("--images" if dataset == "imagenet" else dataset, source)
    files = [file for path in amounts.image_folders(source) for file in amounts.images_below(path)]
    return Look(archives, amount.images, classes, _size(files, dataset), amount.gigabytes)


def _size(files: Sequence[Path], what: str) -> tuple[int, int]:
    """Return shorter and longer side of a typical image, by the headers of some."""
    sizes = []
    for file in _some(files):
        try:
            with Image.open(file) as image:
                sizes.append(sorted(image.size))
        except (OSError, UnidentifiedImageError):
            continue
    if not sizes:
        raise PacavitError(f"{what}: no image that can be opened among {len(files):,} files; mend the path")
    return round(median(side[0] for side in sizes)), round(median(side[1] for side in sizes))


def _labels(folder: Path) -> dict[int, float]:
    """Return the share of pixels of each label in some maps."""
    counts: dict[int, int] = {}
    for file in _some(sorted(amounts.images_below(folder))):
        try:
            with Image.open(file) as image:
                if len(image.getbands()) > 1:
                    raise PacavitError(f"{file}: is {image.mode}; expected a label map with a number a pixel")
                labels, numbers = np.unique(np.asarray(image), return_counts=True)
        except (OSError, UnidentifiedImageError):
            raise PacavitError(f"{file}: cannot be read as a label map; replace or remove it") from None
        for label, number in zip(labels.tolist(), numbers.tolist(), strict=True):
            counts[int(label)] = counts.get(int(label), 0) + number
    if not counts:
        raise PacavitError(f"{folder}: no label maps in it; mend the path")
    return {label: counts[label] / sum(counts.values()) for label in sorted(counts)}


def _some(files: Sequence[Path]) -> Iterable[Path]:
    return files[:: max(1, len(files) // _LOOKED_AT)]


def _folders(folder: Path) -> list[str]:
    _require(folder)
    return [path.name for path in entries(folder, Skipped()) if path.is_dir()]


def _require(folder: Path) -> None:
    if not folder.is_dir():
        raise PacavitError(f"{folder}: no such folder; mend the path")


# What fits them.


def _changes(
    page: str, scale: str, like: str, base: params.Params, looks: Mapping[str, Look]
) -> dict[str, Any]:
    """Return the values of a page that differ from the scale that is copied, by dotted key."""
    found: dict[str, Any] = {}
    if page == "data":
        for dataset, look in looks.items():
            found[f"{dataset}.archives"] = look.archives
            found[f"{dataset}.prepare.complete"] = False
            if dataset == "imagenet":
                found["imagenet.prepare.shard_megabytes"] = 64
            else:
                found[f"{dataset}.prepare.max_gigabytes"] = 1 + ceil(2 * look.gigabytes)
    elif page == "targets":
        variant = base.targets.variants[0]
        optional = {
            name: group
            for name, group in base.targets.groups.items()
            if set(group) <= set(base.targets.optional)
        }
        found = {"variants": [variant], "groups": {"main": [variant], **optional}}
        if base.targets.only:
            found["only"] = {}
    elif page == "figures":
        found["report.title"] = f"{scale}: {'; '.join(look.text for look in looks.values())}"
        found["report.clickable"] = base.targets.variants[:1]
        for dataset, look in looks.items():
            number = look.images["val"]
            found[f"{dataset}.images"] = max(1, min(getattr(base.figures, dataset).images, number))
            found[f"{dataset}.explained"] = [i for i in (0, 1) if i < number] or [0]
            found[f"{dataset}.side"] = min(224, max(32, _side(look.size[0], _sides(like)["dense"])))
    elif page == "pretrain" and "imagenet" in looks:
        found = _pretrain(base, like, looks["imagenet"])
    elif page == "coco" and "coco" in looks:
        found = _coco(base, like, looks["coco"])
    elif page == "ade20k" and "ade20k" in looks:
        found = _ade20k(like, looks["ade20k"])
    return found


def _sides(like: str) -> Mapping[str, int]:
    return _SIDES.get(like, _SIDES["paper"])


def _side(side: float, most: int) -> int:
    """Return a multiple of 32 near a side, which the four stages divide."""
    return max(32, min(most, round(side / 32) * 32))


def _epochs(like: str, dataset: str, look: Look) -> int:
    passes = _PASSES.get(like, _PASSES["paper"])[dataset]
    least, most = _EPOCHS[dataset]
    return max(least, min(most, round(passes / max(1, look.images["train"]))))


def _batch(recipe: Any, look: Look) -> dict[str, int]:
    """Return batches that the training images fill."""
    batch, micro = recipe.global_batch, recipe.micro_batch
    while batch > 2 and batch > look.images["train"]:
        batch //= 2
    return {"recipe.global_batch": batch, "recipe.micro_batch": min(micro, batch)}


def _pretrain(base: params.Params, like: str, look: Look) -> dict[str, Any]:
    epochs = _epochs(like, "imagenet", look)
    return {
        **_batch(base.pretrain.recipe, look),
        "recipe.image_size": _side(look.size[0], _sides(like)["imagenet"]),
        "recipe.epochs": epochs,
        "recipe.validate_epochs": max(1, epochs // 10),
        "recipe.augmentation.hflip": 0.5,
        "recipe.augmentation.crop_scale": [0.35, 1.0],
    }


def _coco(base: params.Params, like: str, look: Look) -> dict[str, Any]:
    short = _side(look.size[0], _sides(like)["dense"])
    longest = ceil(short * max(1.2, look.size[1] / look.size[0]) / 32) * 32
    epochs = _epochs(like, "coco", look)
    return {
        **_batch(base.coco.recipe, look),
        "recipe.sides": sorted({_side(short * share, short) for share in (0.75, 0.875, 1.0)}),
        "recipe.max_side": longest,
        "recipe.test_side": short,
        "recipe.crop": None,
        "recipe.hflip": 0.5,
        "recipe.detector.detections": max(base.coco.recipe.detector.detections, min(100, look.objects)),
        "recipe.epochs": epochs,
        "recipe.drop_epochs": [epochs * 2 // 3, epochs * 11 // 12],
        "recipe.validate_epochs": max(1, epochs // 4),
    }


def _ade20k(like: str, look: Look) -> dict[str, Any]:
    short = _side(look.size[0], min(512, _sides(like)["dense"]))
    return {
        "recipe.scale": [ceil(short * max(1.0, look.size[1] / look.size[0])), short],
        "recipe.crop": short,
        "recipe.resize_ratio": [0.5, 2.0],
        "recipe.cat_max_ratio": 0.75 if look.classes > 2 else 1.0,
        "recipe.hflip": 0.5,
        "recipe.photometric": True,
    }


def _page(source: Path, changes: Mapping[str, Any], scale: str, like: str) -> str:
    """Return a page with other values, without the remarks beside what they replace and above them all."""
    text = source.read_text(encoding="utf-8")
    if not changes:
        return text
    pages = YAML(typ="rt")
    pages.width = 4096
    pages.representer.add_representer(
        type(None), lambda to, _: to.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    content = pages.load(text)
    for place, value in changes.items():
        *sections, key = place.split(".")
        section = reduce(getitem, sections, content)
        section[key] = _in_a_line(value)
        section.ca.items.pop(key, None)
    written = io.StringIO()
    pages.dump(content, written)
    lines = written.getvalue().splitlines()
    while lines[0].startswith("#"):
        del lines[0]
    return (
        "\n".join([f"# Made by `pacavit scale new {scale}` from {like}, for your own images.", *lines]) + "\n"
    )


def _in_a_line(value: Any) -> Any:
    """Return a list as one that is written in a line, and so those in a mapping."""
    if isinstance(value, dict):
        return {key: _in_a_line(each) for key, each in value.items()}
    if isinstance(value, list):
        value = CommentedSeq(value)
        value.fa.set_flow_style()
    return value
