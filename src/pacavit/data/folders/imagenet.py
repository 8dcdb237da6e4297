"""A folder of images with a subfolder a class, packed as the archives of ILSVRC2012."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pacavit.data.archives import add_to_tar, new_tar
from pacavit.data.devkit import write_devkit
from pacavit.errors import PacavitError
from pacavit.params.data import ImageFolder

#: Images by class, each a list of files.
Images = dict[str, list[Path]]

_SYNSET = re.compile(r"n\d{8}")


def pack(outputs: Mapping[str, Path], source: ImageFolder) -> None:
    """Write the archives.

    Classes in the order of their names get synsets ``n00000001`` and so on, unless all folders are named as synsets, as
    those of an unpacked ImageNet are.

    Raises:
        PacavitError: there are no images, a class has none, or train and val have not the same classes.
    """
    train, val = find_images(source)
    if all(_SYNSET.fullmatch(name) for name in train):
        synsets = {name: name for name in train}
    else:
        synsets = {name: f"n{number:08d}" for number, name in enumerate(train, start=1)}
    numbers = {name: number for number, name in enumerate(train, start=1)}
    _write_train(outputs["train"], train, synsets)
    labels = [numbers[name] for name, files in val.items() for _ in files]
    _write_val(outputs["val"], [file for files in val.values() for file in files])
    write_devkit(outputs["devkit"], {numbers[n]: (synsets[n], n) for n in train}, labels)


def find_images(source: ImageFolder) -> tuple[Images, Images]:
    """Return the training and validation images by class, in the order of their names.

    Raises:
        PacavitError: as :func:`pack`.
    """
    folder = Path(source.directory)
    if source.val_fraction is None:
        train, val = (_classes(folder / split) for split in ("train", "val"))
        if other := sorted(train.keys() ^ val.keys()):
            lacks = "val" if other[0] in train else "train"
            raise PacavitError(
                f"{folder}: class {other[0]!r} is not in {lacks}; add images of it, or remove it"
            )
        return train, val
    train, val = {}, {}
    for number, (name, files) in enumerate(_classes(folder).items()):
        order = np.random.default_rng((source.seed, number)).permutation(len(files))
        count = max(1, round(source.val_fraction * len(files)))
        if count >= len(files):
            raise PacavitError(
                f"{folder / name}: {len(files)} images, of which {count} would validate; add some, or lower "
                "val_fraction"
            )
        chosen = set(order[:count].tolist())
        val[name] = [file for i, file in enumerate(files) if i in chosen]
        train[name] = [file for i, file in enumerate(files) if i not in chosen]
    return train, val


def _classes(folder: Path) -> Images:
    if not folder.is_dir():
        raise PacavitError(
            f"{folder}: no such folder; expected a folder of images a class in it, or set val_fraction to split one"
        )
    found = {path.name: sorted(_files(path)) for path in sorted(folder.iterdir()) if path.is_dir()}
    if len(found) < 2:
        raise PacavitError(
            f"{folder}: {len(found)} class folders; expected a folder of images for each of two or more"
        )
    for name, files in found.items():
        if not files:
            raise PacavitError(f"{folder / name}: no images; add some, or remove the folder")
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Give all files below a folder but hidden ones; whether they are images, the preparation tells."""
    for path in folder.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _write_train(path: Path, images: Images, synsets: Mapping[str, str]) -> None:
    with new_tar(path) as outer:
        for name, files in tqdm(images.items(), desc="pack train", unit="class", disable=None):
            synset = synsets[name]
            size = tarfile.RECORDSIZE * -(-_tar_size(files) // tarfile.RECORDSIZE)
            header = tarfile.TarInfo(f"{synset}.tar")
            header.size = size
            # Written in place, since a class may be larger than the memory.
            outer.fileobj.write(header.tobuf(tarfile.USTAR_FORMAT))
            start = outer.fileobj.tell()
            with tarfile.open(fileobj=outer.fileobj, mode="w", format=tarfile.USTAR_FORMAT) as inner:
                inner.offset = 0
                for number, file in enumerate(files, start=1):
                    add_to_tar(inner, f"{synset}_{number}.JPEG", file.read_bytes())
            written = outer.fileobj.tell() - start
            if written != size:
                raise PacavitError(f"{path}: {name} changed while it was read; run the command again")
            outer.offset = outer.fileobj.tell()


def _tar_size(files: Sequence[Path]) -> int:
    """Return the bytes of a tar of files: a header and whole blocks for each, and two empty blocks."""
    blocks = sum(1 + -(-os.path.getsize(file) // tarfile.BLOCKSIZE) for file in files)
    return (blocks + 2) * tarfile.BLOCKSIZE


def _write_val(path: Path, files: Sequence[Path]) -> None:
    with new_tar(path) as archive:
        for number, file in enumerate(tqdm(files, desc="pack val", unit="image", disable=None), start=1):
            add_to_tar(archive, f"ILSVRC2012_val_{number:08d}.JPEG", file.read_bytes())
