"""COCO 2017: the official archives, and the folder of images and annotations that training reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pacavit.data import archives as archive_tools
from pacavit.data import digits
from pacavit.data.archives import add_to_zip, check_image, extract_zip, new_zip
from pacavit.data.digits import Instance, Scene
from pacavit.data.manifest import write_manifest
from pacavit.errors import PacavitError
from pacavit.files import atomic_directory
from pacavit.stages import Job

SPLITS = {"train": "train2017", "val": "val2017"}

#: Category numbers of the miniature have gaps, as the official ones do.
_CATEGORY_IDS = (1, 2, 3, 5, 6, 7, 8, 10, 11, 13)


def annotation_file(folder: Path, split: str) -> Path:
    """Return the annotation file of a prepared split."""
    return Path(folder) / "annotations" / f"instances_{SPLITS[split]}.json"


def archives(job: Job) -> None:
    """Make the three miniature archives, or link the user's own."""
    source = job.params.data.coco.archives
    if source.kind == "own":
        archive_tools.take_own(job, source.directory)
        return
    counts = {"train": source.train_images, "val": source.val_images}
    annotations = {}
    for split, count in counts.items():
        annotations[split] = _write_images(job.outputs[split], split, source.seed, count)
    with new_zip(job.outputs["annotations"]) as archive:
        for split, content in annotations.items():
            name = f"annotations/instances_{SPLITS[split]}.json"
            add_to_zip(archive, name, json.dumps(content, sort_keys=True).encode())


def prepare(job: Job) -> None:
    """Unpack the archives, open every image once, and check annotations against images.

    Raises:
        PacavitError: an archive is damaged, an image broken, or an annotation wrong.
    """
    limit = job.params.data.coco.prepare.max_gigabytes
    remedy = archive_tools.remedy(job)
    with atomic_directory(job.outputs["data"]) as folder:
        with archive_tools.reading(job.inputs["annotations"], remedy):
            extract_zip(job.inputs["annotations"], folder, limit, keep="annotations/instances_")
        counts = {}
        for split, name in SPLITS.items():
            with archive_tools.reading(job.inputs[split], remedy):
                written = extract_zip(job.inputs[split], folder, limit, keep=f"{name}/")
            sizes = {
                path.name: check_image(folder / path, path.name)
                for path in tqdm(written, desc=f"check coco {split}", unit="image", disable=None)
            }
            content = _read_annotations(folder, split, job.inputs["annotations"])
            _check_annotations(content, sizes, f"{job.inputs['annotations']}: instances_{name}.json")
            counts[split] = len(content["images"])
        categories = sorted(content["categories"], key=lambda category: category["id"])
        write_manifest(folder, "coco", [category["name"] for category in categories], counts)


def _read_annotations(folder: Path, split: str, archive: Path) -> dict[str, Any]:
    path = annotation_file(folder, split)
    if not path.is_file():
        raise PacavitError(f"{archive}: no annotations/{path.name} in it; fetch or make it again")
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        what = "empty" if path.stat().st_size == 0 else f"not JSON ({error})"
        raise PacavitError(f"{archive}: annotations/{path.name} is {what}; fetch or make it again") from error


def _check_annotations(content: Any, sizes: dict[str, tuple[int, int]], source: str) -> None:
    """Check that annotations, images and categories refer to each other.

    Raises:
        PacavitError: they do not, or there is nothing to learn from.
    """
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not content.get(key):
            raise PacavitError(f"{source}: no {key} in it; fetch or make the annotations again")
    images = {}
    for image in content["images"]:
        name = image["file_name"]
        if name not in sizes:
            raise PacavitError(f"{source}: image {name} is not in the archive of images; fetch both again")
        if sizes[name] != (image["width"], image["height"]):
            raise PacavitError(f"{source}: {name} is {sizes[name]}, not {image['width']}×{image['height']}")
        images[image["id"]] = image
    categories = {category["id"] for category in content["categories"]}
    for annotation in content["annotations"]:
        if annotation["image_id"] not in images:
            raise PacavitError(f"{source}: annotation {annotation['id']} is of an unknown image")
        if annotation["category_id"] not in categories:
            raise PacavitError(f"{source}: annotation {annotation['id']} is of an unknown category")


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
