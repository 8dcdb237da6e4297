"""ImageNet-1k: the official archives, and tar shards with an index for random access.

A training image belongs to the synset whose tar holds it. A validation image has a number of ILSVRC's own in the
development kit's ground truth; ``meta.mat`` maps it to a synset. Classes are the synsets in sorted order.

The preparation reads the headers of the archives, and from them plans shards of a fixed content. Each is then made by
itself, from the bytes where they stand in the archive, so that several processes share the work and a killed one is
taken up at the first shard that is missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from pacavit.data import archives as archive_tools
from pacavit.data import tasks
from pacavit.data.archives import TarMember, add_to_tar, scan_tar
from pacavit.data.devkit import read_devkit
from pacavit.data.manifest import check_official, shared_images, write_manifest
from pacavit.data.pictures import PictureError, decode
from pacavit.errors import PacavitError
from pacavit.files import MANIFEST, atomic_file, reading, resumable_directory, sha256
from pacavit.job import Job

_MEGABYTE = 1 << 20

Form = Literal["shards", "folder"]


@dataclass(frozen=True)
class Listing:
    """The images of a split where they stand in its archive, in the order of the prepared set.

    Attributes:
        archive: the file that holds them.
        names: in the prepared set (n,).
        labels: classes (n,).
        offsets, sizes: of the contents in the archive, bytes (n,).
    """

    archive: Path
    names: np.ndarray
    labels: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def part(self, images: slice) -> Listing:
        """Return some of the images."""
        columns = (self.names, self.labels, self.offsets, self.sizes)
        return Listing(self.archive, *(column[images] for column in columns))


def prepare(job: Job) -> None:
    """Check every image of the archives and write them as tar shards, or a file each, with an index and a manifest.

    Raises:
        PacavitError: an archive is damaged, images are broken, or the archives do not fit together.
    """
    options = job.params.data.imagenet.prepare
    remedy = archive_tools.remedy(job)
    with archive_tools.reading(job.inputs["devkit"], remedy):
        synsets, names, ground_truth = read_devkit(job.inputs["devkit"])
    with archive_tools.reading(job.inputs["train"], remedy):
        train = list_train(job.inputs["train"], synsets)
    with archive_tools.reading(job.inputs["val"], remedy):
        val = list_val(job.inputs["val"], synsets, ground_truth)
    classes = [names[synset] for synset in synsets]
    counts = {"train": len(train), "val": len(val)}
    if options.complete:
        check_official("imagenet", classes, counts, job.scale)
    with resumable_directory(job.outputs["data"], job.fingerprint) as folder:
        files: dict[str, str] = {}
        hashes: dict[str, dict[str, str]] = {}
        for split, listing in (("train", train), ("val", val)):
            if options.form == "folder":
                listing = _in_class_folders(listing, synsets)
            parts = _parts(split, listing, options.shard_megabytes * _MEGABYTE, options.form)
            records = tasks.run(folder, parts, f"prepare imagenet {split}", job.work, remedy)
            for record in records:
                files |= record.files
            index = folder / f"{split}.npz"
            _write_index(index, listing, [np.array(record.facts["offsets"], np.int64) for record in records])
            files[index.name] = sha256(index)
            names_of = (Path(name.decode()).name for name in listing.names)
            found = (content for record in records for content in record.facts["hashes"])
            hashes[split] = dict(zip(names_of, found, strict=True))
        tasks.clear(folder)
        shared = shared_images("imagenet", hashes["train"], hashes["val"], job.inputs["devkit"])
        write_manifest(folder, "imagenet", classes, counts, files, ids=synsets, shared=shared)


class ImageNetShards:
    """Random access to the images of a prepared split, in shards or loose.

    Args:
        root: the prepared folder.
        split: ``train`` or ``val``.

    Raises:
        PacavitError: the folder is not a prepared data set.
    """

    def __init__(self, root: Path, split: str) -> None:
        self.root = Path(root)
        index = self.root / f"{split}.npz"
        if not index.is_file() or not (self.root / MANIFEST).is_file():
            raise PacavitError(
                f"{self.root}: no prepared {split} split in it; run `pacavit prepare imagenet`"
            )
        with np.load(index) as content:
            self.labels = content["labels"]
            self._names = content["names"]
            self._shards, self._offsets, self._sizes = content["shards"], content["offsets"], content["sizes"]
        self._split = split
        self.classes: list[str] = json.loads((self.root / MANIFEST).read_text())["classes"]
        self._handles: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """Return the RGB image and its class.

        It is not turned, as the papers' readers turn none; one from a folder of the user's is upright as it is stored.
        """
        image = decode(self.content(index), self.name(index), upright=False)
        return image, int(self.labels[index])

    def content(self, index: int) -> bytes:
        """Return the image's file as it was in the archive."""
        shard = int(self._shards[index])
        if shard == _LOOSE:
            return (self.root / self._split / self.name(index)).read_bytes()
        return os.pread(self._handle(shard), int(self._sizes[index]), int(self._offsets[index]))

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_handles": {}}

    def name(self, index: int) -> str:
        """Return the image's name in the archive."""
        return self._names[index].decode()

    def _handle(self, shard: int) -> int:
        # A worker process opens its own: descriptors do not survive every way of starting one.
        key = (os.getpid(), shard)
        if key not in self._handles:
            self._handles[key] = os.open(self.root / _shard_name(self._split, shard), os.O_RDONLY)
        return self._handles[key]


#: Stands in the index for the shard of an image that is a file of its own.
_LOOSE = -1


def _shard_name(split: str, number: int) -> str:
    return f"{split}-{number:05d}.tar"


def list_train(path: Path, synsets: Sequence[str]) -> Listing:
    """Return the training images of the tar of tars, from its headers.

    Raises:
        PacavitError: a tar is of no synset of the development kit, or there are no images.
        tarfile.TarError: the archive is damaged.
    """
    number = {synset: i for i, synset in enumerate(synsets)}
    outer = scan_tar(path)
    for member in outer:
        if Path(member.name).stem not in number:
            raise PacavitError(f"{path}: {member.name} is no synset of the development kit; fetch both again")
    found = tasks.in_order(partial(_list_synset, path), outer)
    labels = [number[Path(member.name).stem] for member in outer]
    return _listing(path, list(zip(found, labels, strict=True)))


def _list_synset(path: Path, tar: TarMember) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return names, offsets and sizes of a synset's images; arrays are a tenth of the members in memory."""
    members = scan_tar(path, tar.offset, tar.size)
    synset = Path(tar.name).stem
    names = np.array([f"{synset}/{Path(member.name).name}".encode() for member in members], dtype=bytes)
    return (
        names,
        np.array([m.offset for m in members], np.int64),
        np.array([m.size for m in members], np.int64),
    )


def list_val(path: Path, synsets: Sequence[str], ground_truth: Sequence[str]) -> Listing:
    """Return the validation images of the flat tar, from its headers.

    Raises:
        PacavitError: an image has no label, a label no image, or there are no images.
        tarfile.TarError: the archive is damaged.
    """
    number = {synset: i for i, synset in enumerate(synsets)}
    members = scan_tar(path)
    columns = []
    for member in members:
        digits = Path(member.name).stem.rsplit("_", 1)[-1]
        if not digits.isdecimal() or not 1 <= int(digits) <= len(ground_truth):
            raise PacavitError(
                f"{path}: {member.name} has no line in the development kit's ground truth; fetch both again"
            )
        one = np.array([member.name.encode()]), np.array([member.offset]), np.array([member.size])
        columns.append((one, number[ground_truth[int(digits) - 1]]))
    if len(members) != len(ground_truth):
        raise PacavitError(
            f"{path}: {len(members)} images, but {len(ground_truth)} labels in the development kit"
        )
    return _listing(path, columns)


def _listing(path: Path, groups: Sequence[tuple[tuple[np.ndarray, np.ndarray, np.ndarray], int]]) -> Listing:
    groups = [(columns, label) for columns, label in groups if len(columns[0])]
    if not groups:
        raise PacavitError(f"{path}: holds no images; fetch or make it again")
    names, offsets, sizes = (np.concatenate([columns[i] for columns, _ in groups]) for i in range(3))
    labels = np.concatenate([np.full(len(columns[0]), label, np.int32) for columns, label in groups])
    return Listing(path, names, labels, offsets, sizes)


def _in_class_folders(listing: Listing, synsets: Sequence[str]) -> Listing:
    """Return the listing with ``SYNSET/NAME`` for names; training images have such names already."""
    names = [
        name if b"/" in name else f"{synsets[label]}/".encode() + name
        for name, label in zip(listing.names, listing.labels, strict=True)
    ]
    return Listing(listing.archive, np.array(names), listing.labels, listing.offsets, listing.sizes)


@dataclass(frozen=True)
class _Part:
    """The images of one shard, or as many loose ones."""

    kind = "images"

    split: str
    number: int
    listing: Listing
    write: Callable[[Path, _Part, tasks.Record], list[int]]

    @property
    def name(self) -> str:
        return f"{self.split}-{self.number:05d}"

    @property
    def images(self) -> int:
        return len(self.listing)

    def __call__(self, folder: Path) -> tasks.Record:
        record = tasks.Record(images=self.images)
        record.facts["offsets"] = self.write(folder, self, record)
        return record

    def contents(self, record: tasks.Record) -> Iterator[tuple[str, bytes]]:
        """Give name and content of each image, and note which ones cannot be decoded, and a hash of each."""
        hashes = record.facts["hashes"] = []
        names = [name.decode() for name in self.listing.names]
        with open(self.listing.archive, "rb") as file:
            for name, offset, size in zip(names, self.listing.offsets, self.listing.sizes, strict=True):
                with reading(self.listing.archive):
                    content = os.pread(file.fileno(), int(size), int(offset))
                try:
                    decode(content, name, upright=False)
                except PictureError as error:
                    record.broken.append(f"{name} ({error.reason})")
                hashes.append(hashlib.blake2b(content, digest_size=8).hexdigest())
                yield name, content


def _parts(split: str, listing: Listing, shard_bytes: int, form: Form) -> list[_Part]:
    """Cut a listing into parts: a tar is closed once it has reached its size."""
    blocks = -(-listing.sizes // tarfile.BLOCKSIZE) + 1  # a header before each content
    ends, filled = [], 0
    for i, count in enumerate(blocks):
        filled += int(count) * tarfile.BLOCKSIZE
        if filled >= shard_bytes or i == len(blocks) - 1:
            ends.append(i + 1)
            filled = 0
    write = _write_shard if form == "shards" else _write_loose
    starts = [0, *ends[:-1]]
    return [
        _Part(split, number, listing.part(slice(start, end)), write)
        for number, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


def _write_shard(folder: Path, part: _Part, record: tasks.Record) -> list[int]:
    """Write a part as a tar, and return where each content begins in it."""
    path = folder / _shard_name(part.split, part.number)
    offsets = []
    with atomic_file(path) as temporary:
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
            for name, content in part.contents(record):
                offsets.append(archive.offset + tarfile.BLOCKSIZE)
                add_to_tar(archive, name, content)
        record.files[path.name] = sha256(temporary)
    record.sizes[path.name] = path.stat().st_size
    return offsets


def _write_loose(folder: Path, part: _Part, record: tasks.Record) -> list[int]:
    """Write the images of a part as files; one hash stands for them all, or a manifest would hold a million."""
    digest = hashlib.sha256()
    for name, content in part.contents(record):
        path = folder / part.split / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        digest.update(name.encode() + hashlib.sha256(content).digest())
        record.sizes[f"{part.split}/{name}"] = len(content)
    record.files[f"{part.split}/ (part {part.number})"] = digest.hexdigest()
    return [_LOOSE] * part.images


def _write_index(path: Path, listing: Listing, offsets: Sequence[np.ndarray]) -> None:
    """Write where each image of a prepared split is."""
    loose = offsets[0][0] == _LOOSE
    shards = [
        np.full(len(part), _LOOSE if loose else number, np.int32) for number, part in enumerate(offsets)
    ]
    with atomic_file(path) as temporary:
        np.savez(
            temporary,
            names=listing.names,
            labels=listing.labels,
            shards=np.concatenate(shards),
            offsets=np.concatenate(offsets),
            sizes=listing.sizes,
        )
