"""How many images, and how many bytes, the data of a scale are."""

from __future__ import annotations

import json
import os
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pacavit import params
from pacavit.data.archives import scan_tar
from pacavit.data.folders.files import image_suffixes
from pacavit.data.folders.imagenet import val_count
from pacavit.data.manifest import read_manifest
from pacavit.data.registry import DATASETS
from pacavit.errors import PacavitError
from pacavit.files import MANIFEST
from pacavit.pipeline import sources, targets

_GIGABYTE = 1e9
#: Of a drawn picture.
_DIGIT_BYTES = 1e4
#: Archives up to this size are looked into; a larger one is taken to hold images as the official one does.
_LISTED = 10 * _GIGABYTE


@dataclass(frozen=True)
class Amount:
    """What a data set is.

    Attributes:
        images: by split.
        gigabytes: of its archives, and about as much of it prepared.
        source: where the numbers come from.
    """

    images: Mapping[str, int]
    gigabytes: float
    source: str


#: By data set.
Amounts = Mapping[str, Amount]


def stated(given: params.Params) -> dict[str, Amount]:
    """Return what the pages of parameters say alone: drawn images, and the official numbers for all others."""
    return {dataset: _stated(dataset, getattr(given.data, dataset).archives) for dataset in DATASETS}


def found(scale: str, given: params.Params, target: str = targets.ALL) -> dict[str, Amount]:
    """Return what is there: the prepared data, else the user's folders and archives, else what is stated.

    Nothing is decoded. Data sets that the target does not need are as stated.

    Raises:
        PacavitError: a folder of the user's is missing, or annotations cannot be read.
    """
    wanted = {stage for stage, _ in targets.jobs(given.targets, target)}
    return stated(given) | {
        dataset: _found(scale, given, dataset) for dataset in DATASETS if f"prepare_{dataset}" in wanted
    }


def _stated(dataset: str, source: Any) -> Amount:
    if source.kind == "digits":
        images = {"train": source.train_images, "val": source.val_images}
        return Amount(images, sum(images.values()) * _DIGIT_BYTES / _GIGABYTE, "data.yaml: images to draw")
    return _official(dataset)


def _official(dataset: str) -> Amount:
    size = sum(file.size or _GIGABYTE for file in DATASETS[dataset].files.values())
    return Amount(dict(DATASETS[dataset].counts), size / _GIGABYTE, "registry: official sizes")


def _found(scale: str, given: params.Params, dataset: str) -> Amount:
    page = getattr(given.data, dataset)
    prepared = targets.path(f"prepare_{dataset}.data", scale)
    if (prepared / MANIFEST).is_file():
        with suppress(PacavitError, KeyError):  # a damaged manifest is an error of who reads the data
            return Amount(read_manifest(prepared)["counts"], _gigabytes(prepared), f"{prepared}, as prepared")
    if page.archives.kind == "folder":
        return of_folder(f"params/{scale}/data.yaml: {dataset}", page.archives)
    if page.archives.kind == "digits" or page.prepare.complete:
        return _stated(dataset, page.archives)
    return _of_archives(dataset, Path(page.archives.directory))


def of_folder(where: str, source: Any) -> Amount:
    """Return how much a folder of the user's is.

    Args:
        where: the place that names it, for messages.
        source: the section of the page.

    Raises:
        PacavitError: a path is missing, or annotations cannot be read.
    """
    folders = dict.fromkeys(path for _, path in sources.paths_of(source))
    for path in folders:
        if not path.exists():
            raise PacavitError(f"{where}: {path}: no such file or folder; mend the path")
    if hasattr(source, "directory"):
        images = _of_classes(Path(source.directory), source.val_fraction)
    else:
        images = {split: _of_split(getattr(source, split)) for split in ("train", "val")}
    return Amount(images, sum(_gigabytes(path) for path in folders), ", ".join(map(str, folders)))


def image_folders(source: Any) -> list[Path]:
    """Return the folders that hold the images of a section of the page."""
    if hasattr(source, "directory"):
        return [Path(source.directory)]
    return [Path(source.train.images), Path(source.val.images)]


def _of_classes(folder: Path, val_fraction: float | None) -> dict[str, int]:
    if val_fraction is None:
        return {split: len(list(images_below(folder / split))) for split in ("train", "val")}
    depth = len(folder.parts)
    counts = Counter(file.parts[depth] for file in images_below(folder) if len(file.parts) > depth + 1)
    val = sum(val_count(number, val_fraction) for number in counts.values())
    return {"train": counts.total() - val, "val": val}


def _of_split(source: Any) -> int:
    if not hasattr(source, "annotations"):
        labels = os.path.realpath(source.labels)
        return sum(
            labels not in map(str, image.parents)
            for image in images_below(Path(os.path.realpath(source.images)))
        )
    path = Path(source.annotations)
    try:
        return len(json.loads(path.read_bytes())["images"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PacavitError(
            f"{path}: not COCO's JSON ({type(error).__name__}: {error}); expected images, annotations and categories"
        ) from None


def images_below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that have the name of an image; whether they are, packing tells."""
    for file, _ in sources.files_below(folder):
        if os.path.splitext(file)[1].lower() in image_suffixes():
            yield Path(file)


def _gigabytes(path: Path) -> float:
    return sum(status.st_size for _, status in sources.files_below(path)) / _GIGABYTE


def _of_archives(dataset: str, folder: Path) -> Amount:
    """Return what archives in the official layout hold; the official numbers where there are none."""
    info = DATASETS[dataset]
    files = {key: folder / file.name for key, file in info.files.items()}
    if not all(path.is_file() for path in files.values()):
        return _official(dataset)
    size = sum(path.stat().st_size for path in files.values())
    official = sum(file.size or _GIGABYTE for file in info.files.values())
    if size <= _LISTED:
        try:
            images = _listed(dataset, files)
        except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
            raise PacavitError(f"{folder}: an archive cannot be read ({error}); fetch it again") from None
    else:
        images = {split: round(number * size / official) for split, number in info.counts.items()}
    return Amount(images, size / _GIGABYTE, f"archives in {folder}")


def _listed(dataset: str, files: Mapping[str, Path]) -> dict[str, int]:
    if dataset == "imagenet":
        classes = scan_tar(files["train"])
        train = sum(len(scan_tar(files["train"], each.offset, each.size)) for each in classes)
        return {"train": train, "val": len(scan_tar(files["val"]))}
    if dataset == "coco":
        return {split: _in_zip(files[split], "") for split in ("train", "val")}
    return {
        split: _in_zip(files["all"], f"images/{name}/")
        for split, name in {"train": "training", "val": "validation"}.items()
    }


def _in_zip(path: Path, part: str) -> int:
    with zipfile.ZipFile(path) as archive:
        names = (info.filename for info in archive.infolist() if not info.is_dir())
        return sum(part in name and name.lower().endswith((".jpg", ".jpeg", ".png")) for name in names)
