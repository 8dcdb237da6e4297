"""Folders of images with annotations in COCO's JSON, packed as the archives of COCO 2017."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pacavit.data import pictures
from pacavit.data.archives import add_to_zip, new_zip
from pacavit.data.coco import SPLITS
from pacavit.errors import PacavitError
from pacavit.files import read_source
from pacavit.params.data import AnnotatedFolder, CocoFolder


def pack(outputs: Mapping[str, Path], source: CocoFolder) -> None:
    """Write the archives; images are numbered in the order of the annotation file.

    Raises:
        PacavitError: a file is missing or no such JSON, an annotation has no mask, or the splits' categories differ.
    """
    contents = {split: _read(getattr(source, split)) for split in SPLITS}
    if contents["train"]["categories"] != contents["val"]["categories"]:
        raise PacavitError(
            f"{source.val.annotations}: its categories are not those of {source.train.annotations}; use one list for "
            "both"
        )
    for split, content in contents.items():
        content["images"] = _write_images(
            outputs[split], getattr(source, split), content["images"], SPLITS[split]
        )
    with new_zip(outputs["annotations"]) as archive:
        for split, content in contents.items():
            name = f"annotations/instances_{SPLITS[split]}.json"
            add_to_zip(archive, name, json.dumps(content, sort_keys=True).encode())


def _read(source: AnnotatedFolder) -> dict[str, Any]:
    path = Path(source.annotations)
    try:
        content = json.loads(path.read_text())
        found = {key: content[key] for key in ("images", "annotations", "categories")}
        found["annotations"] = [_complete(annotation, path) for annotation in found["annotations"]]
    except FileNotFoundError:
        raise PacavitError(f"{path}: missing; set the annotation file's name in data.yaml") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise PacavitError(
            f"{path}: not COCO's JSON ({type(error).__name__}: {error}); expected images, annotations and categories"
        ) from None
    return found


def _complete(annotation: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return an annotation with what tools leave out: ``iscrowd`` and ``area``; a mask there must be."""
    if not annotation.get("segmentation"):
        raise PacavitError(
            f"{path}: annotation {annotation['id']} has no segmentation, which Mask R-CNN learns from; add masks"
        )
    width, height = annotation["bbox"][2:]
    return {"iscrowd": 0, "area": float(width * height), **annotation}


def _write_images(
    target: Path, source: AnnotatedFolder, images: list[dict[str, Any]], folder: str
) -> list[dict[str, Any]]:
    renamed = []
    with new_zip(target) as archive:
        for number, image in enumerate(
            tqdm(images, desc=f"pack {folder}", unit="image", disable=None), start=1
        ):
            path = Path(source.images) / image["file_name"]
            if not path.is_file():
                raise PacavitError(
                    f"{path}: missing, and {source.annotations} names it; add it, or leave it out there"
                )
            packed = pictures.pack(read_source(path), path)
            name = f"{number:012d}.jpg"
            add_to_zip(archive, f"{folder}/{name}", packed.content)
            renamed.append({**image, "file_name": name})
    return renamed
