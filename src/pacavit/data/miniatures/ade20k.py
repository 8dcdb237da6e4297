"""The archive of ADE20K in miniature: digits on two to four grounds, which are classes too."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from pacavit.data import digits
from pacavit.data.ade20k import CLASSES, SPLITS, TOP
from pacavit.data.archives import add_to_zip, new_zip
from pacavit.data.digits import Scene
from pacavit.data.folders.ade20k import class_table
from pacavit.params.data import DigitArchives


def draw(outputs: Mapping[str, Path], source: DigitArchives) -> None:
    """Write the archive."""
    counts = {"train": source.train_images, "val": source.val_images}
    with new_zip(outputs["all"]) as archive:
        for split, count in counts.items():
            for number in tqdm(range(count), desc=f"draw ade20k {split}", unit="image", disable=None):
                drawn = digits.scene(
                    "segmentation",
                    split,
                    source.seed,
                    number,
                    regions=2 + number % 3,
                    digits=(4, 8),
                    sides=(40, 64),
                    visible=0.95,  # one hidden digit under another is guesswork
                )
                stem = f"ADE_{split}_{number + 1:08d}"
                rng = digits.generator(source.seed, 5, number, list(SPLITS).index(split))
                add_to_zip(
                    archive, f"{TOP}images/{SPLITS[split]}/{stem}.jpg", digits.encode(drawn.image, rng)
                )
                add_to_zip(archive, f"{TOP}annotations/{SPLITS[split]}/{stem}.png", _png(_label_map(drawn)))
        add_to_zip(archive, TOP + CLASSES, class_table((*digits.CLASSES, *digits.TEXTURES)).encode())
        add_to_zip(archive, f"{TOP}sceneCategories.txt", _scene_table(counts).encode())


def _label_map(drawn: Scene) -> np.ndarray:
    """Return classes (H, W) from 1: the ten digits, then the textures; 0 is unlabelled."""
    labels = np.where(drawn.stuff < 0, 0, drawn.stuff + 1 + len(digits.CLASSES)).astype(np.uint8)
    for instance in drawn.instances:
        labels[instance.mask] = instance.label + 1
    return labels


def _png(labels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(labels).save(file, "PNG")
    return file.getvalue()


def _scene_table(counts: dict[str, int]) -> str:
    return "".join(
        f"ADE_{split}_{number + 1:08d} digits\n" for split, count in counts.items() for number in range(count)
    )
