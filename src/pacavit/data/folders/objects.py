"""Annotations of the user's: each object is taken, mended, dropped with a count, or refused by image and id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle

from pacavit.data.annotations import (
    Annotation,
    Image,
    RunLengths,
    check_lengths,
    check_references,
    decode,
    index,
    kind_of,
    names_of,
    refusal,
    refuse,
    summarize,
)
from pacavit.data.classes import Classes, check_names
from pacavit.errors import PacavitError
from pacavit.files import listed, read_source
from pacavit.runtime.progress import report

#: Edges of a box and of its mask that are no farther apart agree, pixels.
_SLACK = 2.0

#: Left, top, width and height, pixels.
Box = tuple[float, float, float, float]


@dataclass
class Split:
    """The annotations of one split, and what was done to them.

    Attributes:
        source: the annotation file.
        images: by id, in the order of the file.
        classes: of the categories.
        entries: annotations as the file has them.
        objects: that were taken, in COCO's form.
        mended: numbers of what was mended, by what was done.
        dropped: annotations that were dropped, by reason.
        corners: annotations whose box fits the mask as left, top, right and bottom.
        upright: number of those of which the opposite is sure.
    """

    source: Path
    images: dict[int, Image]
    classes: Classes
    entries: list[Any]
    objects: list[dict[str, Any]] = field(default_factory=list)
    mended: Counter = field(default_factory=Counter)
    dropped: dict[str, list[str]] = field(default_factory=dict)
    corners: list[str] = field(default_factory=list)
    upright: int = 0

    def report(self, title: str) -> None:
        """Report images and objects, and what was mended and dropped."""
        summarize(title, self.classes, self.objects, len(self.images))
        for what, count in sorted(self.mended.items()):
            report(f"{title}: mended: {what}, {count:,} times")
        for reason, names in sorted(self.dropped.items()):
            report(f"{title}: dropped: {len(names):,} objects {reason}: {listed(names)}")

    def content(self) -> dict[str, Any]:
        """Return COCO's JSON in values, without images."""
        categories = zip(self.classes.ids, self.classes.names, strict=True)
        return {
            "annotations": self.objects,
            "categories": [{"id": number, "name": name} for number, name in categories],
        }


def read(path: Path) -> Split:
    """Read an annotation file as far as it makes sense without the images.

    Raises:
        PacavitError: it cannot be read, or an image or a category has no id or name of its own.
    """
    if not path.exists():
        raise PacavitError(f"{path}: missing; set the annotation file's name in data.yaml")
    content = decode(read_source(path), str(path))
    mended: Counter = Counter()
    images, classes, refused = index(content, mended)
    refuse(path, refused)
    check_names(classes.names, str(path))
    return Split(path, images, classes, content["annotations"], mended=mended)


def take(split: Split, sizes: Mapping[int, tuple[int, int]]) -> None:
    """Take the objects of a split, given width and height of each image by its id.

    Raises:
        PacavitError: an object is refused, or none is left that can be learnt.
    """
    taken: list[tuple[Any, dict[str, Any]]] = []
    refused: list[str] = []
    for place, entry in enumerate(split.entries, start=1):
        name = "".join(names_of(split.images, entry, place))
        try:
            if found := _object(split, entry, name, sizes):
                taken.append((entry.get("id"), found))
        except ValueError as error:  # pydantic's among them
            refused.append(refusal(split.images, entry, place, error))
    if len(split.corners) > split.upright:
        refused.append(
            f"{split.corners[0]} has a box that fits its mask as left, top, right and bottom, and so have "
            f"{len(split.corners)} in all; expected left, top, width and height"
        )
    refuse(split.source, refused)
    _number(split, taken)
    if all(item["iscrowd"] for item in split.objects):
        what = "only crowds (iscrowd: 1) are" if split.objects else "no object is"
        reasons = "; ".join(f"{len(names)} {reason}" for reason, names in split.dropped.items())
        raise PacavitError(
            f"{split.source}: {what} left, and there is nothing to learn{f' ({reasons})' if reasons else ''}; "
            "expected boxes and masks in pixels of the images"
        )


def _number(split: Split, taken: Sequence[tuple[Any, dict[str, Any]]]) -> None:
    """Keep the ids if they are distinct and above 0, which pycocotools takes for no object; else count anew."""
    given = [number for number, _ in taken]
    kept = all(type(number) is int and 0 < number < 1 << 63 for number in given) and len(set(given)) == len(
        given
    )
    if not kept:
        split.mended["annotation id renumbered"] = len(taken)
    for place, (number, item) in enumerate(taken, start=1):
        split.objects.append({"id": number if kept else place, **item})


def _object(
    split: Split, entry: Any, name: str, sizes: Mapping[int, tuple[int, int]]
) -> dict[str, Any] | None:
    """Return an object in COCO's form, or None if it is dropped.

    Raises:
        ValidationError, ValueError: it cannot be taken.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"is a {kind_of(entry)}, not an object of JSON")
    masks = entry.get("segmentation")
    if not masks or (isinstance(masks, list) and not any(part != [] for part in masks)):
        raise ValueError("has no segmentation, which Mask R-CNN learns from: add masks")
    if entry.get("bbox") == []:
        entry = {**entry, "bbox": None}
    item = Annotation.model_validate(entry, context=split.mended)
    check_references(item, split.images, split.classes)
    if item.ignore:
        return _drop(split, "marked to be ignored", name)
    width, height = size = sizes[item.image_id]
    segmentation, bounds = _mask(split, item.segmentation, size)
    if isinstance(segmentation, dict) and not bounds[2]:
        return _drop(split, "with a mask that covers no pixel", name)
    box = _box(split, item.bbox, bounds, name)
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    right, bottom = min(box[0] + box[2], width), min(box[1] + box[3], height)
    if right <= left or bottom <= top or not segmentation:
        return _drop(split, "outside the image", name)
    clipped = (left, top, right - left, bottom - top)
    if min(clipped[2:]) < 1:
        return _drop(split, "smaller than one pixel", name)
    encoded = rle.frPyObjects(segmentation, height, width) if _is_encodable(segmentation) else segmentation
    covered = float(rle.area(rle.merge(encoded) if isinstance(encoded, list) else encoded))
    if not covered:
        return _drop(split, "with a mask that covers no pixel", name)
    if max(abs(a - b) for a, b in zip(clipped, box, strict=True)) > 1e-3:
        split.mended["box clipped to the image"] += 1
        box = clipped
    area = item.area
    if area is None or area > width * height:
        split.mended["area computed from the mask"] += 1
        area = covered
    return {
        "image_id": item.image_id,
        "category_id": item.category_id,
        "bbox": list(box),
        "area": area,
        "iscrowd": item.iscrowd,
        "segmentation": segmentation,
    }


def _is_encodable(segmentation: Any) -> bool:
    return isinstance(segmentation, list) or isinstance(segmentation["counts"], list)


def _mask(split: Split, mask: Any, size: tuple[int, int]) -> tuple[Any, Box]:
    """Return a mask within the image, empty if there is none, and the box around the whole of it.

    Raises:
        ValueError: it is none.
    """
    width, height = size
    if isinstance(mask, RunLengths):
        check_lengths(mask, width, height)
        given = mask.model_dump()
        encoded = rle.frPyObjects(given, height, width) if isinstance(mask.counts, list) else given
        return given, tuple(map(float, rle.toBbox(encoded)))
    parts = [part for part in mask if len(part) >= 6]
    if any(len(part) % 2 for part in mask):
        raise ValueError("has a polygon with an odd number of coordinates; expected x and y of each point")
    if not parts:
        raise ValueError("has a polygon of fewer than three points; expected x and y of three or more")
    if len(parts) < len(mask):
        split.mended["part of a mask with fewer than three points left out"] += len(mask) - len(parts)
    points = np.concatenate([np.reshape(part, (-1, 2)) for part in parts])
    low, high = points.min(axis=0), points.max(axis=0)
    if (low >= 0).all() and (high <= size).all():
        kept = parts
    else:
        split.mended["polygon clipped to the image"] += 1
        clipped = [_clip(np.reshape(part, (-1, 2)), size) for part in parts]
        kept = [part.ravel().tolist() for part in clipped if len(part) >= 3]
    return kept, (*map(float, low), *map(float, high - low))


def _clip(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the part of a polygon (n, 2) within the image, by Sutherland and Hodgman's algorithm."""
    for axis in (0, 1):
        for sign, bound in ((1.0, 0.0), (-1.0, float(size[axis]))):
            depth = sign * (points[:, axis] - bound)
            following, beyond = np.roll(points, -1, axis=0), np.roll(depth, -1)
            crossing = (depth >= 0) != (beyond >= 0)
            share = np.divide(depth, depth - beyond, out=np.zeros_like(depth), where=crossing)
            crossings = points + share[:, None] * (following - points)
            pairs = np.stack([points, crossings], axis=1).reshape(-1, 2)
            points = pairs[np.stack([depth >= 0, crossing], axis=1).ravel()]
    return points


def _box(split: Split, given: Sequence[float] | None, bounds: Box, name: str) -> Box:
    """Return the box of an object whose mask has these bounds.

    Raises:
        ValueError: the two do not agree.
    """
    if max(abs(value) for value in (*(given or ()), *bounds)) <= 1:
        raise ValueError("has coordinates from 0 to 1; expected pixels, not shares of the image's size")
    if given is None or (min(given[2:]) == 0 <= max(given[2:])):
        split.mended["box computed from the mask"] += 1
        return bounds
    x, y, width, height = box = tuple(given)
    if min(width, height) < 0:
        raise ValueError(
            f"has a box of width {width:g} and height {height:g}; expected left, top, width and height"
        )
    corners = (x, y, width - x, height - y)
    fit, other = _overlap(box, bounds), _overlap(corners, bounds)
    if max(x, y) >= 1:
        if other >= 0.9 and other > fit + 0.05:
            split.corners.append(name)
        else:
            split.upright += 1
    if fit >= 0.5 or max(abs(a - b) for a, b in zip(_edges(box), _edges(bounds), strict=True)) <= _SLACK:
        return box
    if max(map(abs, box)) <= 1:
        hint = "the box has shares of the image's size, not pixels"
    elif other >= 0.8:
        hint = "the box has left, top, right and bottom, not left, top, width and height"
    else:
        hint = f"the box is {_text(box)}, and around the mask it would be {_text(bounds)}"
    raise ValueError(f"has a box and a mask that do not agree: {hint}")


def _edges(box: Box) -> Box:
    return box[0], box[1], box[0] + box[2], box[1] + box[3]


def _overlap(one: Box, other: Box) -> float:
    """Return the intersection of two boxes over their union."""
    a, b = _edges(one), _edges(other)
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if min(width, height, *one[2:], *other[2:]) <= 0:
        return 0.0
    common = width * height
    return common / (one[2] * one[3] + other[2] * other[3] - common)


def _text(box: Box) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"


def _drop(split: Split, reason: str, name: str) -> None:
    split.dropped.setdefault(reason, []).append(name)
