"""ImageNet-1k: the official archives, and tar shards with an index for random access.

A training image belongs to the synset whose tar holds it. A validation image has a number of ILSVRC's own in the
development kit's ground truth; ``meta.mat`` maps it to a synset. Classes are the synsets in sorted order.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from pacavit.data import archives as archive_tools
from pacavit.data import digits
from pacavit.data.archives import add_to_tar, check_image, new_tar, tar_files
from pacavit.data.manifest import write_manifest
from pacavit.errors import PacavitError
from pacavit.files import MANIFEST, atomic_directory
from pacavit.stages import Job

_DEVKIT = "ILSVRC2012_devkit_t12/data"
_META = f"{_DEVKIT}/meta.mat"
_GROUND_TRUTH = f"{_DEVKIT}/ILSVRC2012_validation_ground_truth.txt"
_MEGABYTE = 1 << 20


def archives(job: Job) -> None:
    """Make the three miniature archives, or link the user's own."""
    source = job.params.data.imagenet.archives
    if source.kind == "own":
        archive_tools.take_own(job, source.directory)
        return
    # ILSVRC's own numbers are not in the synsets' order, so here they are not either.
    numbers = np.random.default_rng(source.seed).permutation(len(digits.CLASSES)) + 1
    _write_train(job.outputs["train"], source.seed, source.train_images)
    labels = _write_val(job.outputs["val"], source.seed, source.val_images)
    with new_tar(job.outputs["devkit"], compressed=True) as archive:
        add_to_tar(archive, _META, _meta_mat(numbers))
        add_to_tar(archive, _GROUND_TRUTH, "".join(f"{numbers[label]}\n" for label in labels).encode())


def prepare(job: Job) -> None:
    """Check every image of the archives and write them as tar shards with an index and a manifest.

    Raises:
        PacavitError: an archive is damaged, an image broken, or the archives do not fit together.
    """
    shard_bytes = job.params.data.imagenet.prepare.shard_megabytes * _MEGABYTE
    remedy = archive_tools.remedy(job)
    with archive_tools.reading(job.inputs["devkit"], remedy):
        synsets, names, ground_truth = _read_devkit(job.inputs["devkit"])
    with atomic_directory(job.outputs["data"]) as folder:
        with archive_tools.reading(job.inputs["train"], remedy):
            train = _shard(folder, "train", _train_images(job.inputs["train"], synsets), shard_bytes)
        with archive_tools.reading(job.inputs["val"], remedy):
            val = _shard(folder, "val", _val_images(job.inputs["val"], synsets, ground_truth), shard_bytes)
        write_manifest(
            folder, "imagenet", [names[synset] for synset in synsets], {"train": train, "val": val}
        )


class ImageNetShards:
    """Random access to the images of a prepared split.

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
        self._pattern = f"{split}-{{:05d}}.tar"
        self.classes: list[str] = json.loads((self.root / MANIFEST).read_text())["classes"]
        self._handles: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """Return the RGB image and its class."""
        content = os.pread(
            self._handle(int(self._shards[index])), int(self._sizes[index]), int(self._offsets[index])
        )
        return Image.open(io.BytesIO(content)).convert("RGB"), int(self.labels[index])

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_handles": {}}

    def name(self, index: int) -> str:
        """Return the image's name in the archive."""
        return self._names[index].decode()

    def _handle(self, shard: int) -> int:
        # A worker process opens its own: descriptors do not survive every way of starting one.
        key = (os.getpid(), shard)
        if key not in self._handles:
            self._handles[key] = os.open(self.root / self._pattern.format(shard), os.O_RDONLY)
        return self._handles[key]


@dataclass
class _Index:
    names: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    shards: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def save(self, path: Path) -> None:
        np.savez(
            path,
            names=np.array([name.encode() for name in self.names]),
            labels=np.array(self.labels, np.int32),
            shards=np.array(self.shards, np.int32),
            offsets=np.array(self.offsets, np.int64),
            sizes=np.array(self.sizes, np.int64),
        )


def _shard(folder: Path, split: str, images: Iterator[tuple[str, int, bytes]], shard_bytes: int) -> int:
    """Write images as shards and their index; return how many."""
    index = _Index()
    number, archive = -1, None
    try:
        for name, label, content in tqdm(images, desc=f"shard {split}", unit="image", disable=None):
            check_image(content, name)
            if archive is None or archive.offset >= shard_bytes:
                if archive is not None:
                    archive.close()
                number += 1
                path = folder / f"{split}-{number:05d}.tar"
                archive = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115, closed below
            add_to_tar(archive, name, content)
            # The content is padded to whole blocks, and the archive stands behind them.
            blocks = -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            index.names.append(name)
            index.labels.append(label)
            index.shards.append(number)
            index.offsets.append(archive.offset - blocks)
            index.sizes.append(len(content))
    finally:
        if archive is not None:
            archive.close()
    if not index.names:
        raise PacavitError(f"imagenet: the {split} archive holds no images; fetch or make it again")
    index.save(folder / f"{split}.npz")
    return len(index.names)


def _train_images(path: Path, synsets: list[str]) -> Iterator[tuple[str, int, bytes]]:
    with tarfile.open(path) as outer:
        for tar_name, content in tar_files(outer):
            synset = Path(tar_name).stem
            if synset not in synsets:
                raise PacavitError(
                    f"{path}: {tar_name} is no synset of the development kit; fetch both again"
                )
            with tarfile.open(fileobj=io.BytesIO(content)) as inner:
                for name, image in tar_files(inner):
                    yield f"{synset}/{Path(name).name}", synsets.index(synset), image


def _val_images(path: Path, synsets: list[str], ground_truth: list[str]) -> Iterator[tuple[str, int, bytes]]:
    seen = 0
    with tarfile.open(path) as archive:
        for name, content in tar_files(archive):
            number = int(Path(name).stem.rsplit("_", 1)[-1])
            if not 1 <= number <= len(ground_truth):
                raise PacavitError(f"{path}: {name} has no line in the development kit's ground truth")
            seen += 1
            yield name, synsets.index(ground_truth[number - 1]), content
    if seen != len(ground_truth):
        raise PacavitError(f"{path}: {seen} images, but {len(ground_truth)} labels in the development kit")


def _read_devkit(path: Path) -> tuple[list[str], dict[str, str], list[str]]:
    """Return the sorted synsets, their names, and the synset of each validation image in order."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    with tarfile.open(path) as archive:
        content = dict(tar_files(archive))
    for name in (_META, _GROUND_TRUTH):
        if name not in content:
            raise PacavitError(f"{path}: no {name} in it; this is not the ILSVRC2012 development kit")
    try:
        table = loadmat(io.BytesIO(content[_META]), squeeze_me=True)["synsets"]
    except (MatReadError, ValueError, KeyError, TypeError) as error:
        raise PacavitError(f"{path}: {_META} cannot be read ({error}); fetch or make it again") from error
    # Inner nodes of WordNet's tree stand in the table too; only leaves have images.
    leaves = [row for row in table if int(row["num_children"]) == 0]
    by_number = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in leaves}
    names = {str(row["WNID"]): str(row["words"]) for row in leaves}
    try:
        ground_truth = [by_number[int(line)] for line in content[_GROUND_TRUTH].decode().split()]
    except (KeyError, ValueError) as error:
        raise PacavitError(f"{path}: {_GROUND_TRUTH} names class {error}, which {_META} lacks") from error
    return sorted(names), names, ground_truth


def _wnid(label: int) -> str:
    return f"n{label:08d}"


def _write_train(path: Path, seed: int, count: int) -> None:
    by_class: list[list[tuple[str, bytes]]] = [[] for _ in digits.CLASSES]
    for number in tqdm(range(count), desc="draw imagenet train", unit="image", disable=None):
        image, label = digits.digit_picture("train", seed, number)
        name = f"{_wnid(label)}_{number}.JPEG"
        by_class[label].append((name, _encoded(image, number, seed)))
    with new_tar(path) as outer:
        for label, images in enumerate(by_class):
            inner_file = io.BytesIO()
            with tarfile.open(fileobj=inner_file, mode="w", format=tarfile.USTAR_FORMAT) as inner:
                for name, content in images:
                    add_to_tar(inner, name, content)
            add_to_tar(outer, f"{_wnid(label)}.tar", inner_file.getvalue())


def _write_val(path: Path, seed: int, count: int) -> list[int]:
    labels = []
    with new_tar(path) as archive:
        for number in tqdm(range(count), desc="draw imagenet val", unit="image", disable=None):
            image, label = digits.digit_picture("val", seed, number)
            labels.append(label)
            content = digits.encode(image, digits.generator(seed, 3, number))
            add_to_tar(archive, f"ILSVRC2012_val_{number + 1:08d}.JPEG", content)
    return labels


def _encoded(image: np.ndarray, number: int, seed: int) -> bytes:
    """Return a JPEG; picture 0 is a PNG with a JPEG's name, as ImageNet has one."""
    if number > 0:
        return digits.encode(image, digits.generator(seed, 2, number))
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def _meta_mat(numbers: np.ndarray) -> bytes:
    """Return ``meta.mat`` with the fields of the official one that name a class, and one inner node."""
    from scipy.io import savemat

    rows = [(int(n), _wnid(label), digits.CLASSES[label], 0) for label, n in enumerate(numbers)]
    rows.sort()
    rows.append((len(rows) + 1, _wnid(len(rows)), "digit", len(rows)))
    table = np.array(
        rows, dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    )
    file = io.BytesIO()
    savemat(file, {"synsets": table})
    content = bytearray(file.getvalue())
    # scipy writes the time into the first 116 bytes, which are free text.
    content[:116] = b"MATLAB 5.0 MAT-file".ljust(116)
    return bytes(content)
