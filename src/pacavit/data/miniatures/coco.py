"""The three archives of COCO 2017 in miniature: scenes of several digits, with crowds, empty images and gaps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pacavit.data import digits
from pacavit.data.archives import add_to_zip, new_zip
from pacavit.data.coco import SPLITS
from pacavit.data.digits import Instance, Scene
from pacavit.params.data import DigitArchives

#: Category numbers of the miniature have gaps, as the official ones do.
_CATEGORY_IDS = (1, 2, 3, 5, 6, 7, 8, 10, 11, 13)


def draw(outputs: Mapping[str, Path], source: DigitArchives) -> None:
    """Write the archives."""
    counts = {"train": source.train_images, "val": source.val_images}
    annotations = {
        split: _write_images(outputs[split], split, source.seed, count) for split, count in counts.items()
    }
    with new_zip(outputs["annotations"]) as archive:
        for split, content in annotations.items():
            name = f"annotations/instances_{SPLITS[split]}.json"
            add_to_zip(archive, name, json.dumps(content, sort_keys=True).encode())


def _write_images(path: Path, split: str, seed: int, count: int) -> dict[str, Any]:
    """Write the images of a split and return their annotations."""
    images: list[dict] = []
    annotations: list[dict] = []
    with new_zip(path) as archive:
        for number in tqdm(range(count), desc=f"draw coco {split}", unit="image", disable=None):
            drawn = digits.scene("detection", split, seed, number)
            name = f"{number + 1:012d}.jpg"
            content = digits.encode(drawn.image, digits.generator(seed, 4, number, list(SPLITS).index(split)))
            add_to_zip(archive, f"{SPLITS[split]}/{name}", content)
            height, width = drawn.stuff.shape
            images.append({"id": number + 1, "file_name": name, "height": height, "width": width})
            annotations.extend(_annotations(drawn, number + 1, len(annotations) + 1))
    categories = [
        {"id": number, "name": name, "supercategory": "digit"}
        for number, name in zip(_CATEGORY_IDS, digits.CLASSES, strict=True)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def _annotations(drawn: Scene, image_id: int, first: int) -> list[dict[str, Any]]:
    found = []
    for instance in drawn.instances:
        segmentation = _crowd_rle(instance.mask) if instance.crowd else _polygons(instance.mask)
        if segmentation:
            found.append(_annotation(instance, segmentation, image_id, first + len(found)))
    return found


def _annotation(instance: Instance, segmentation: Any, image_id: int, number: int) -> dict[str, Any]:
    from pycocotools import mask as rle

    height, width = instance.mask.shape
    packed = rle.frPyObjects(segmentation, height, width)
    merged = packed if instance.crowd else rle.merge(packed)
    return {
        "id": number,
        "image_id": image_id,
        "category_id": _CATEGORY_IDS[instance.label],
        "segmentation": segmentation,
        "area": float(rle.area(merged)),
        "bbox": [float(value) for value in rle.toBbox(merged)],
        "iscrowd": int(instance.crowd),
    }


def _polygons(mask: np.ndarray) -> list[list[float]]:
    """Return the outlines of a mask; like COCO's polygons they have no holes."""
    import cv2

    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [contour.flatten().astype(float).tolist() for contour in contours if cv2.contourArea(contour) >= 4]


def _crowd_rle(mask: np.ndarray) -> dict[str, Any]:
    """Return a mask as run lengths by columns, beginning with the background, as COCO stores crowds."""
    flat = np.concatenate([[0], mask.flatten(order="F"), [1 - mask[-1, -1]]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], edges]))
    return {"size": list(mask.shape), "counts": [int(count) for count in counts]}
