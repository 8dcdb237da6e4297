"""Folders of images with annotations in COCO's JSON, packed as the archives of COCO 2017."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from pacavit.data import annotations, pictures
from pacavit.data.annotations import SMALLEST, Split, listed
from pacavit.data.archives import add_to_zip, new_zip
from pacavit.data.coco import SPLITS
from pacavit.errors import PacavitError
from pacavit.params.data import AnnotatedFolder, CocoFolder
from pacavit.runtime.progress import report

#: Width and height of images by their ids, pixels.
Sizes = dict[int, tuple[int, int]]


def pack(outputs: Mapping[str, Path], source: CocoFolder) -> None:
    """Write the archives; images are numbered in the order of the annotation file.

    Raises:
        PacavitError: a file is missing, an annotation or an image cannot be taken, or the splits' categories differ.
    """
    splits = {split: annotations.read(Path(getattr(source, split).annotations)) for split in SPLITS}
    _compare_categories(splits["train"], splits["val"])
    sizes = {split: _read_sizes(getattr(source, split), splits[split]) for split in SPLITS}
    for split, read in splits.items():
        annotations.take(read, sizes[split])
        annotations.summarize(f"coco {split}", read.classes, read.objects, len(read.images), read)
    _report_small(splits["train"], sizes["train"])
    images = {
        split: _write_images(outputs[split], getattr(source, split), splits[split], sizes[split], name)
        for split, name in SPLITS.items()
    }
    with new_zip(outputs["annotations"]) as archive:
        for split, read in splits.items():
            content = {"images": images[split], **read.content()}
            name = f"annotations/instances_{SPLITS[split]}.json"
            add_to_zip(archive, name, json.dumps(content, sort_keys=True).encode())


def _compare_categories(train: Split, val: Split) -> None:
    """Refuse two lists of categories that differ in more than their order.

    Raises:
        PacavitError: they do.
    """
    both = [dict(zip(read.classes.ids, read.classes.names, strict=True)) for read in (train, val)]
    for number in sorted(both[0].keys() | both[1].keys()):
        names = [repr(found[number]) if number in found else "missing" for found in both]
        if names[0] != names[1]:
            raise PacavitError(
                f"{val.source}: category {number} is {names[1]}, and {names[0]} in {train.source}; use one list of "
                "categories for both"
            )


def _read_sizes(source: AnnotatedFolder, split: Split) -> Sizes:
    """Return width and height of each image as people see it, from the head of its file.

    Raises:
        PacavitError: a file is missing or no image, or its annotations are for another size.
    """
    sizes: Sizes = {}
    refused = []
    for number, image in split.images.items():
        path = Path(source.images) / image.file_name
        try:
            sizes[number] = width, height = _read_size(path)
        except FileNotFoundError:
            refused.append(
                f"{path}: missing, and {source.annotations} names it; add it, or leave it out there"
            )
            continue
        except pictures.PictureError as error:
            refused.append(str(error))
            continue
        given = image.width or width, image.height or height
        if None in (image.width, image.height):
            split.mended["width and height of an image read from its file"] += 1
        if given != (width, height):
            turned = given == (height, width)
            why = "its annotations are for the image as stored; save it upright" if turned else "mend them"
            stated = f"{given[0]} × {given[1]} as image {number} of {source.annotations}"
            refused.append(f"{path}: {width} × {height}, but {stated}: {why}")
    if refused:
        raise PacavitError(listed(refused))
    return sizes


def _read_size(path: Path) -> tuple[int, int]:
    """Return width and height of an upright image, without decoding it."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            return (height, width) if pictures.orientation(image) > 4 else (width, height)
    except FileNotFoundError:
        raise
    except Exception as error:  # decoders of damaged files raise whatever they stumble over
        reason = getattr(error, "strerror", None) or "no image that Pillow knows"
        raise pictures.PictureError(path, f"not readable as an image ({reason})") from None


def _report_small(split: Split, sizes: Sizes) -> None:
    """Report the images that the training leaves out because of their size.

    Raises:
        PacavitError: no other has an object.
    """
    small = {number for number, size in sizes.items() if min(size) < SMALLEST}
    if not small:
        return
    names = listed([split.images[number].file_name for number in sorted(small)])
    if all(item["image_id"] in small for item in split.objects if not item["iscrowd"]):
        raise PacavitError(
            f"{split.source}: all images with objects have a side under {SMALLEST} pixels, and are not trained on "
            f"({names}); enlarge them"
        )
    report(
        f"coco train: {len(small):,} images have a side under {SMALLEST} pixels, and are not trained on: {names}"
    )


def _write_images(
    target: Path, source: AnnotatedFolder, split: Split, sizes: Sizes, folder: str
) -> list[dict[str, object]]:
    """Write the images of a split, and return them as COCO lists them."""
    written = []
    changes: Counter = Counter()
    with new_zip(target) as archive:
        bar = tqdm(split.images.values(), desc=f"pack {folder}", unit="image", disable=None)
        for number, image in enumerate(bar, start=1):
            path = Path(source.images) / image.file_name
            packed = pictures.pack(path.read_bytes(), path)
            if packed.size != sizes[image.id]:
                raise PacavitError(f"{path}: changed while it was read; run the command again")
            changes.update(packed.changes)
            name = f"{number:012d}.jpg"
            add_to_zip(archive, f"{folder}/{name}", packed.content)
            width, height = packed.size
            written.append({"id": image.id, "file_name": name, "width": width, "height": height})
    for what, count in sorted(changes.items()):
        report(f"{folder}: {count:,} images written anew: {what}")
    return written
