"""The three archives of ILSVRC2012 in miniature: one digit on a textured ground a picture."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from pacavit.data import digits
from pacavit.data.archives import add_to_tar, new_tar
from pacavit.data.devkit import write_devkit
from pacavit.params.data import DigitArchives


def draw(outputs: Mapping[str, Path], source: DigitArchives) -> None:
    """Write the archives."""
    # ILSVRC's own numbers are not in the synsets' order, so here they are not either.
    numbers = np.random.default_rng(source.seed).permutation(len(digits.CLASSES)) + 1
    _write_train(outputs["train"], source.seed, source.train_images)
    labels = _write_val(outputs["val"], source.seed, source.val_images)
    classes = {int(number): (_wnid(label), digits.CLASSES[label]) for label, number in enumerate(numbers)}
    write_devkit(outputs["devkit"], classes, [int(numbers[label]) for label in labels])


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
