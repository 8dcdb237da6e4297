"""COCO 2017: the official archives, and the folder of images and annotations that training reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pacavit.data import archives as archive_tools
from pacavit.data import tasks
from pacavit.data.archives import list_zip
from pacavit.data.extraction import extract, image_parts
from pacavit.data.manifest import check_official, shared_images, write_manifest
from pacavit.errors import PacavitError
from pacavit.files import resumable_directory
from pacavit.job import Job

SPLITS = {"train": "train2017", "val": "val2017"}


def annotation_file(folder: Path, split: str) -> Path:
    """Return the annotation file of a prepared split."""
    return Path(folder) / "annotations" / f"instances_{SPLITS[split]}.json"


def prepare(job: Job) -> None:
    """Unpack the archives, open every image once, and check annotations against images.

    Raises:
        PacavitError: an archive is damaged, images are broken, or an annotation is wrong.
    """
    options = job.params.data.coco.prepare
    remedy = archive_tools.remedy(job)
    with resumable_directory(job.outputs["data"], job.fingerprint) as folder:
        files: dict[str, str] = {}
        with archive_tools.reading(job.inputs["annotations"], remedy):
            names = list_zip(job.inputs["annotations"], options.max_gigabytes, keep="annotations/instances_")
            files |= extract(job.inputs["annotations"], names, folder)
        counts = {}
        for split, name in SPLITS.items():
            with archive_tools.reading(job.inputs[split], remedy):
                names = list_zip(job.inputs[split], options.max_gigabytes, keep=f"{name}/")
                parts = image_parts(job.inputs[split], names, split, official=options.complete)
                records = tasks.run(folder, parts, f"prepare coco {split}", job.work, remedy)
            sizes = {Path(p).name: tuple(f["size"]) for r in records for p, f in r.facts.items()}
            for record in records:
                files |= record.files
            content = _read_annotations(folder, split, job.inputs["annotations"])
            _check_annotations(content, sizes, f"{job.inputs['annotations']}: instances_{name}.json")
            counts[split] = len(content["images"])
        categories = sorted(content["categories"], key=lambda category: category["id"])
        classes = [category["name"] for category in categories]
        if options.complete:
            check_official("coco", classes, counts, job.scale)
        tasks.clear(folder)
        train, val = (
            {Path(path).name: files[path] for path in files if path.startswith(f"{name}/")}
            for name in SPLITS.values()
        )
        shared = shared_images("coco", train, val, job.inputs["annotations"])
        write_manifest(folder, "coco", classes, counts, files, shared=shared)


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
