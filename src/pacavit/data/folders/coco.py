"""Folders of images with annotations in COCO's JSON, packed as the archives of COCO 2017."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from pacavit.data.annotations import SMALLEST, repeated
from pacavit.data.annotations import refuse as refuse_entries
from pacavit.data.archives import SOURCES, add_to_zip, new_zip, sources_text
from pacavit.data.coco import SPLITS
from pacavit.data.folders.files import Picture, Skipped, look, refuse, report_changes
from pacavit.data.folders.objects import Split, read, take
from pacavit.errors import PacavitError
from pacavit.files import listed, printable
from pacavit.params.data import AnnotatedFolder, CocoFolder
from pacavit.runtime.progress import report

#: Images by their ids in the annotations.
Pictures = dict[int, Picture]


def pack(outputs: Mapping[str, Path], source: CocoFolder) -> None:
    """Write the archives; images are numbered in the order of the annotation files.

    Raises:
        PacavitError: a file is missing, an annotation or an image cannot be taken, or the splits' categories differ.
    """
    splits = {split: read(Path(getattr(source, split).annotations)) for split in SPLITS}
    _compare_categories(splits["train"], splits["val"])
    pictures = {split: _pictures(getattr(source, split), splits[split]) for split in SPLITS}
    for name, split in splits.items():
        take(split, {number: picture.size for number, picture in pictures[name].items()})
        split.report(f"coco {name}")
    _report_small(splits["train"], pictures["train"])
    files: dict[str, Path] = {}
    contents = {}
    for name, split in splits.items():
        images = _write_images(outputs[name], pictures[name], SPLITS[name], files)
        contents[name] = {"images": images, **split.content()}
    with new_zip(outputs["annotations"]) as archive:
        for name, content in contents.items():
            text = json.dumps(content, sort_keys=True).encode()
            add_to_zip(archive, f"annotations/instances_{SPLITS[name]}.json", text)
        add_to_zip(archive, SOURCES, sources_text(files))


def _compare_categories(train: Split, val: Split) -> None:
    """Refuse two lists of categories that differ in more than their order.

    Raises:
        PacavitError: they do.
    """
    both = [dict(zip(split.classes.ids, split.classes.names, strict=True)) for split in (train, val)]
    for number in sorted(both[0].keys() | both[1].keys()):
        names = [repr(found[number]) if number in found else "missing" for found in both]
        if names[0] != names[1]:
            raise PacavitError(
                f"{val.source}: category {number} is {names[1]}, and {names[0]} in {train.source}; use one list of "
                "categories for both"
            )


def _pictures(source: AnnotatedFolder, split: Split) -> Pictures:
    """Return the images, all of which were read.

    Raises:
        PacavitError: one is missing or none, or its annotations are for another size.
    """
    paths = {number: Path(source.images) / image.file_name for number, image in split.images.items()}
    missing = [path for path in paths.values() if not path.is_file()]
    if missing:
        raise PacavitError(
            f"{listed(missing)}: missing, and {source.annotations} names {'it' if len(missing) == 1 else 'them'}; add "
            "what is missing, or leave it out there"
        )
    same = repeated((os.path.realpath(path), number) for number, path in paths.items())
    refuse_entries(
        source.annotations,
        [
            f"{printable(paths[ids[0]])} stands {len(ids)} times (ids {', '.join(map(str, ids))})"
            for _, ids in same
        ],
    )
    skipped = Skipped()
    found = {picture.path: picture for picture in look(list(paths.values()), skipped, source.images)}
    refuse(
        [
            PacavitError(
                f"{printable(path)}: no image, and {source.annotations} names it; leave it out there"
            )
            for path in paths.values()
            if path not in found
        ],
        f"{source.annotations}: names files that are no images",
    )
    pictures = {number: found[path] for number, path in paths.items()}
    refuse(
        [error for number, picture in pictures.items() if (error := _other_size(picture, split, number))],
        f"{source.annotations}: sizes are not those of the images",
    )
    report_changes(pictures.values(), source.images)
    return pictures


def _other_size(picture: Picture, split: Split, number: int) -> PacavitError | None:
    """Return what is wrong with the size that the annotations give an image; one that they leave out is counted."""
    image, (width, height) = split.images[number], picture.size
    if not (image.width and image.height):
        split.mended["width and height of an image read from its file"] += 1
    given = image.width or width, image.height or height
    if given == (width, height):
        return None
    why = "mend width and height there"
    if given == (height, width) and "turned upright" in picture.changes:
        why = "its annotations are for the image as stored; save it upright"
    stated = f"{given[0]} × {given[1]} as image {number} of {split.source}"
    return PacavitError(f"{printable(picture.path)}: {width} × {height}, but {stated}: {why}")


def _report_small(split: Split, pictures: Pictures) -> None:
    """Report the images that the training leaves out because of their size.

    Raises:
        PacavitError: no other has an object.
    """
    small = {number: picture.path for number, picture in pictures.items() if min(picture.size) < SMALLEST}
    if not small:
        return
    if all(item["image_id"] in small for item in split.objects if not item["iscrowd"]):
        raise PacavitError(
            f"{split.source}: all images with objects have a side under {SMALLEST} pixels, and are not trained on "
            f"({listed(list(small.values()))}); enlarge them"
        )
    report(
        f"coco train: {len(small):,} images have a side under {SMALLEST} pixels, and are not trained on: "
        f"{listed(list(small.values()))}"
    )


def _write_images(
    target: Path, pictures: Pictures, folder: str, files: dict[str, Path]
) -> list[dict[str, object]]:
    """Write the images of a split, and return them as COCO lists them.

    Args:
        target: the archive.
        pictures: by id.
        folder: in the archive.
        files: the user's file by packed name; the names go on from what is there, as a name stands for one image.
    """
    written: list[dict[str, object]] = []
    with new_zip(target) as archive:
        for number, picture in tqdm(pictures.items(), desc=f"pack {folder}", unit="image", disable=None):
            name = f"{len(files) + 1:012d}.jpg"
            add_to_zip(archive, f"{folder}/{name}", picture.packed())
            width, height = picture.size
            written.append({"id": number, "file_name": name, "width": width, "height": height})
            files[name] = picture.path
    return written
