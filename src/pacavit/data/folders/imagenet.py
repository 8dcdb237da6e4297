"""A folder of images with a subfolder a class, packed as the archives of ILSVRC2012."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pacavit.data.archives import add_to_tar, new_tar
from pacavit.data.classes import check_names
from pacavit.data.devkit import write_devkit
from pacavit.data.folders.files import (
    Picture,
    Skipped,
    contents,
    entries,
    look,
    report_changes,
    walk,
)
from pacavit.errors import PacavitError
from pacavit.files import listed, printable
from pacavit.params.data import ImageFolder

#: Images by class.
Images = dict[str, list[Picture]]

_SYNSET = re.compile(r"n\d{8}")
#: Sizes from here on have no room in a header of that form.
_USTAR_LIMIT = 8**11
#: What folders of splits are called.
_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


def pack(outputs: Mapping[str, Path], source: ImageFolder) -> None:
    """Write the archives.

    Classes in the order of their names get synsets ``n00000001`` and so on, unless all folders are named as synsets, as
    those of an unpacked ImageNet are.

    Raises:
        PacavitError: there are no images, one cannot be read, a class has none, or train and val have not the same
            classes.
    """
    train, val = find_images(source)
    if all(_SYNSET.fullmatch(name) for name in train):
        synsets = {name: name for name in train}
    else:
        synsets = {name: f"n{number:08d}" for number, name in enumerate(train, start=1)}
    numbers = {name: number for number, name in enumerate(train, start=1)}
    files = _write_train(outputs["train"], train, synsets)
    labels = [numbers[name] for name, images in val.items() for _ in images]
    files |= _write_val(outputs["val"], [image for images in val.values() for image in images])
    write_devkit(outputs["devkit"], {numbers[n]: (synsets[n], n) for n in train}, labels, files)


def find_images(source: ImageFolder) -> tuple[Images, Images]:
    """Return the training and validation images by class, in the order of their names.

    Raises:
        PacavitError: as of :func:`pack`.
    """
    folder = Path(source.directory)
    if source.val_fraction is None:
        skipped = Skipped()
        for path in entries(folder, skipped) if folder.is_dir() else ():
            if path.name not in ("train", "val"):
                skipped.add("neither train nor val", path)
        skipped.report(str(folder))
        train, val = (_classes(folder / split) for split in ("train", "val"))
        lacking = [
            f"not in {split}: {listed(sorted(names))}"
            for split, names in (("val", train.keys() - val.keys()), ("train", val.keys() - train.keys()))
            if names
        ]
        if lacking:
            raise PacavitError(
                f"{folder}: {'; '.join(lacking)}; add images of these classes, or remove their folders"
            )
        return train, val
    train, val = {}, {}
    for number, (name, images) in enumerate(_classes(folder, to_split=True).items()):
        order = np.random.default_rng((source.seed, number)).permutation(len(images))
        count = val_count(len(images), source.val_fraction)
        if count >= len(images):
            raise PacavitError(
                f"{folder / name}: {len(images)} images, of which {count} would validate; add some, or lower "
                "val_fraction"
            )
        chosen = set(order[:count].tolist())
        val[name] = [image for i, image in enumerate(images) if i in chosen]
        train[name] = [image for i, image in enumerate(images) if i not in chosen]
    return train, val


def val_count(images: int, fraction: float) -> int:
    """Return how many images of a class validate."""
    return max(1, round(fraction * images))


def _classes(folder: Path, to_split: bool = False) -> Images:
    """Return the images of each class folder, and say what else is there."""
    if not folder.is_dir():
        raise PacavitError(
            f"{folder}: no such folder; expected a folder of images a class in it, or set val_fraction to split one"
        )
    skipped = Skipped()
    folders = []
    for path in entries(folder, skipped):
        if path.is_dir():
            folders.append(path)
        else:
            skipped.add("beside the class folders", path)
    check_class_folders(folder, [path.name for path in folders], to_split)
    files = {path.name: walk(path, skipped) for path in folders}
    pictures = look([file for each in files.values() for file in each], skipped, str(folder))
    skipped.report(str(folder))
    report_changes(pictures, str(folder))
    by_path = {picture.path: picture for picture in pictures}
    found = {name: [by_path[file] for file in each if file in by_path] for name, each in files.items()}
    for name, images in found.items():
        if not images:
            raise PacavitError(f"{folder / name}: no images; add some, or remove the folder")
    return found


def check_class_folders(folder: Path, names: Sequence[str], to_split: bool) -> None:
    """Refuse folders that cannot be classes.

    Args:
        folder: that holds them.
        names: of the folders.
        to_split: whether images of each are to be set apart to validate.

    Raises:
        PacavitError: there are fewer than two, they are splits, or a name is not UTF-8.
    """
    splits = [name for name in names if name.lower() in _SPLITS]
    if to_split and splits and (len(splits) > 1 or len(splits) == len(names)):
        raise PacavitError(
            f"{folder}: {' and '.join(splits)} are splits, not classes; name them train and val, without val_fraction, "
            "or name the folder that holds the classes"
        )
    if len(names) < 2:
        raise PacavitError(
            f"{folder}: {len(names)} class folders; expected a folder of images for each of two or more"
        )
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise PacavitError(
                f"{printable(folder / name)}: the name is not UTF-8; rename the folder"
            ) from None
    check_names(names, str(folder))


def _write_train(path: Path, images: Images, synsets: Mapping[str, str]) -> dict[str, Path]:
    """Write the tar of tars, and return the user's file by the name of each packed one."""
    files = {}
    packed = contents([image for of_class in images.values() for image in of_class])
    with closing(packed), new_tar(path) as outer:
        for name, of_class in tqdm(images.items(), desc="pack train", unit="class", disable=None):
            # Written in place, since a class may be larger than the memory; its size is known afterwards.
            header = tarfile.TarInfo(f"{synsets[name]}.tar")
            place = outer.fileobj.tell()
            outer.fileobj.write(header.tobuf(tarfile.USTAR_FORMAT))
            start = outer.fileobj.tell()
            with tarfile.open(fileobj=outer.fileobj, mode="w", format=tarfile.USTAR_FORMAT) as inner:
                inner.offset = 0
                for number, (image, content) in enumerate(islice(packed, len(of_class)), start=1):
                    member = f"{synsets[name]}_{number}.JPEG"
                    add_to_tar(inner, member, content)
                    files[member] = image.path
            outer.offset = outer.fileobj.tell()
            header.size = outer.offset - start
            form = tarfile.USTAR_FORMAT if header.size < _USTAR_LIMIT else tarfile.GNU_FORMAT
            outer.fileobj.seek(place)
            outer.fileobj.write(header.tobuf(form))
            outer.fileobj.seek(outer.offset)
    return files


def _write_val(path: Path, images: Sequence[Picture]) -> dict[str, Path]:
    """Write the tar, and return the user's file by the name of each packed one."""
    files = {}
    with closing(contents(images)) as packed, new_tar(path) as archive:
        bar = tqdm(packed, desc="pack val", total=len(images), unit="image", disable=None)
        for number, (image, content) in enumerate(bar, start=1):
            member = f"ILSVRC2012_val_{number:08d}.JPEG"
            add_to_tar(archive, member, content)
            files[member] = image.path
    return files
