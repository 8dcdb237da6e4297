"""Annotations in COCO's JSON, read through a schema: each object is taken, mended and counted, dropped and counted, or
refused by image and id.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pycocotools import mask as rle
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError
from pydantic_core import PydanticCustomError

from pacavit.data.classes import Classes, check_names
from pacavit.errors import PacavitError
from pacavit.runtime.progress import report

#: Entries that one message names.
_NAMED = 10
#: Classes that a summary names.
_CLASSES = 100
#: Edges of a box and of its mask that are no farther apart agree, pixels.
_SLACK = 2.0
#: Images with a shorter side are not trained on by mmdetection, pixels.
SMALLEST = 32

#: Left, top, width and height, pixels.
Box = tuple[float, float, float, float]


def _whole(value: Any, info: Any) -> int:
    """Take whole numbers of any form, and count those in text."""
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            raise PydanticCustomError(
                "whole", "expected a whole number, not {value}", {"value": repr(value)}
            ) from None
        info.context["number in text read"] += 1
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # The largest ids that numpy holds.
    if not number or not abs(value) < 1 << 63 or value != int(value):
        raise PydanticCustomError("whole", "expected a whole number, not {value}", {"value": repr(value)})
    return int(value)


def _flag(value: Any, info: Any) -> Any:
    """Take 0, 1, booleans and text for them; nothing is 0."""
    if value is None:
        info.context["iscrowd set to 0"] += 1
        return 0
    return _whole(int(value) if isinstance(value, bool) else value, info)


def _area(value: Any, info: Any) -> float | None:
    """Take a number of a pixel at least; any other is computed later."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number and 1 <= value < 1 << 63 else None


def _outlines(value: Any, info: Any) -> Any:
    """Wrap a flat polygon."""
    if isinstance(value, list) and value and all(isinstance(number, (int, float)) for number in value):
        info.context["flat polygon wrapped"] += 1
        return [value]
    return value


Id = Annotated[int, BeforeValidator(_whole)]
Coordinate = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class Image(_Entry):
    """An image; its size may be missing."""

    id: Id
    file_name: Annotated[str, Field(min_length=1)]
    width: Id | None = None
    height: Id | None = None


class Category(_Entry):
    """A class."""

    id: Id
    name: str


class RunLengths(_Entry):
    """A mask as run lengths by columns, beginning with the background."""

    size: Annotated[list[int], Field(min_length=2, max_length=2)]
    counts: list[int] | str

    def lengths(self) -> list[int]:
        """Return the run lengths.

        Raises:
            ValueError: the text is no such encoding.
        """
        return self.counts if isinstance(self.counts, list) else run_lengths(self.counts)


_Segmentation = Annotated[
    Annotated[list[list[Coordinate]], Tag("polygons")] | Annotated[RunLengths, Tag("rle")],
    Discriminator(lambda value: "rle" if isinstance(value, (dict, RunLengths)) else "polygons"),
]


_Box = Annotated[list[Coordinate], Field(min_length=4, max_length=4)]


class Annotation(_Entry):
    """An object; what follows from its mask may be missing."""

    image_id: Id
    category_id: Id
    segmentation: Annotated[_Segmentation, BeforeValidator(_outlines)]
    bbox: _Box | None = None
    area: Annotated[float | None, BeforeValidator(_area)] = None
    iscrowd: Annotated[Literal[0, 1], BeforeValidator(_flag), Field(validate_default=True)] = None
    ignore: Annotated[Literal[0, 1], BeforeValidator(_whole)] = 0


class PackedAnnotation(_Entry):
    """An object as in the official files, in which nothing is missing."""

    id: Annotated[int, Field(ge=1, lt=1 << 63)]
    image_id: int
    category_id: int
    segmentation: _Segmentation
    bbox: _Box
    area: Annotated[float, Field(allow_inf_nan=False)]
    iscrowd: Literal[0, 1]


def decode(content: bytes, source: str) -> dict[str, list]:
    """Return images, annotations and categories of a JSON file; UTF-8 with or without a byte order mark, or UTF-16.

    Raises:
        PacavitError: it is no such JSON, or one of the three lists is missing or empty.
    """
    try:
        value = json.loads(content)
    except UnicodeDecodeError as error:
        place = f"byte {error.start} is {content[error.start : error.start + 1]!r}"
        raise PacavitError(f"{source}: not text in UTF-8 ({place}); save it as UTF-8") from None
    except (ValueError, RecursionError) as error:
        what = f"not JSON ({str(error) or type(error).__name__})" if content.strip() else "empty"
        raise PacavitError(f"{source}: {what}; export the annotations again") from None
    if not isinstance(value, dict):
        raise PacavitError(
            f"{source}: not COCO's JSON (a {_kind(value)}); expected images, annotations and categories"
        )
    for key in ("images", "annotations", "categories"):
        if not isinstance(value.get(key), list):
            found = (
                f"{key} is a {_kind(value[key])}, not a list" if value.get(key) is not None else f"no {key}"
            )
            raise PacavitError(
                f"{source}: not COCO's JSON ({found}); expected images, annotations and categories"
            )
        if not value[key]:
            raise PacavitError(f"{source}: no {key} in it, so that there is nothing to learn; add some")
    return {key: value[key] for key in ("images", "annotations", "categories")}


def run_lengths(text: str) -> list[int]:
    """Return the run lengths of COCO's text form: five bits a character, the lowest first, as differences.

    Raises:
        ValueError: a character is none of it, or the text ends within a number.
    """
    lengths: list[int] = []
    value = shift = 0
    for char in text:
        bits = ord(char) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{char!r} in it")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("it ends within a number")
    return lengths


@dataclass
class Split:
    """The annotations of one split, and what was done to them.

    Attributes:
        source: the annotation file.
        images: by id, in the order of the file.
        classes: of the categories.
        objects: that were taken, in COCO's form.
        mended: numbers of what was mended, by what was done.
        dropped: entries that were dropped, by reason.
        refused: entries that cannot be taken, with the reason.
    """

    source: Path
    images: dict[int, Image]
    classes: Classes
    raw: list[Any]
    objects: list[dict[str, Any]] = field(default_factory=list)
    mended: Counter = field(default_factory=Counter)
    dropped: dict[str, list[str]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    corners: list[str] = field(default_factory=list)
    upright: int = 0

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
    try:
        content = decode(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise PacavitError(f"{path}: missing; set the annotation file's name in data.yaml") from None
    except OSError as error:
        raise PacavitError(
            f"{path}: cannot be read ({error.strerror}); mend the path or its rights"
        ) from None
    mended: Counter = Counter()
    images, classes, refused = _index(content, mended)
    _refuse(path, refused)
    check_names(classes.names, str(path))
    return Split(path, images, classes, content["annotations"], mended=mended)


def _index(content: Mapping[str, list], mended: Counter) -> tuple[dict[int, Image], Classes, list[str]]:
    """Return the images by id, the classes, and what is wrong with the entries of both."""
    refused: list[str] = []
    images = _entries(content["images"], Image, "image", mended, refused)
    categories = _entries(content["categories"], Category, "category", mended, refused)
    for kind, pairs in (
        ("image", [(image.id, image.file_name) for image in images]),
        ("category", [(category.id, category.name) for category in categories]),
    ):
        for number, names in _repeated(pairs):
            refused.append(f"{kind} id {number} stands {len(names)} times ({', '.join(map(str, names))})")
    for name, numbers in _repeated([(image.file_name, image.id) for image in images]):
        if len(set(numbers)) > 1:
            refused.append(f"image {name} stands {len(numbers)} times (ids {', '.join(map(str, numbers))})")
    classes = Classes.of_categories(category.model_dump() for category in categories)
    return {image.id: image for image in images}, classes, refused


def _entries(raw: list[Any], model: type, kind: str, mended: Counter, refused: list[str]) -> list[Any]:
    found = []
    for place, entry in enumerate(raw, start=1):
        try:
            found.append(model.model_validate(entry, context=mended))
        except ValidationError as error:
            number = entry.get("id") if isinstance(entry, dict) else None
            refused.append(
                f"{kind} {number if number is not None else f'in place {place}'}: {_reason(error)}"
            )
    return found


def _repeated(pairs: Iterable[tuple[Any, Any]]) -> list[tuple[Any, list[Any]]]:
    """Return the keys that stand several times, with their values."""
    found: dict[Any, list[Any]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return [(key, values) for key, values in found.items() if len(values) > 1]


def take(split: Split, sizes: Mapping[int, tuple[int, int]]) -> None:
    """Take the objects of a split, given width and height of each image by its id.

    Raises:
        PacavitError: an object is refused, or none is left that can be learnt.
    """
    taken: list[tuple[Any, dict[str, Any]]] = []
    for place, entry in enumerate(split.raw, start=1):
        name = _name(split.images, entry, place)
        try:
            if found := _object(split, entry, name, sizes):
                taken.append((entry.get("id"), found))
        except ValidationError as error:
            split.refused.append(f"{name}: {_reason(error)}")
        except ValueError as error:
            split.refused.append(f"{name} {error}")
    if len(split.corners) > split.upright:
        split.refused.append(
            f"{split.corners[0]} has a box that fits its mask as left, top, right and bottom, and so have "
            f"{len(split.corners)} in all; expected left, top, width and height"
        )
    _refuse(split.source, split.refused)
    _number(split, taken)
    if all(item["iscrowd"] for item in split.objects):
        what = "only crowds" if split.objects else "no object"
        reasons = "; ".join(f"{len(names)} {reason}" for reason, names in split.dropped.items())
        raise PacavitError(
            f"{split.source}: {what} left, so that there is nothing to learn{f' ({reasons})' if reasons else ''}; "
            "expected boxes and masks in pixels of the images"
        )


def check(content: Mapping[str, list], sizes: Mapping[str, tuple[int, int]], source: str) -> Classes:
    """Check annotations that are used as they are, and return their classes.

    Args:
        content: from :func:`decode`.
        sizes: width and height of each image by its name.
        source: for messages.

    Raises:
        PacavitError: something is missing or of another kind, or the parts do not refer to each other.
    """
    images, classes, refused = _index(content, Counter())
    for image in images.values():
        size = (image.width, image.height)
        if image.file_name not in sizes:
            refused.append(f"image {image.file_name} is not in the archive of images")
        elif sizes[image.file_name] != size:
            refused.append(f"{image.file_name} is {sizes[image.file_name]}, not {size[0]} × {size[1]}")
    numbers: set[int] = set()
    for place, entry in enumerate(content["annotations"], start=1):
        try:
            item = PackedAnnotation.model_validate(entry)
            if item.id in numbers:
                raise ValueError("has the id of another annotation")
            numbers.add(item.id)
            _check_references(item, images, classes)
            if isinstance(item.segmentation, RunLengths):
                _check_lengths(item.segmentation, images[item.image_id].width, images[item.image_id].height)
            elif len(next(iter(item.segmentation), [])) < 6:
                raise ValueError("has a polygon of fewer than three points")
        except ValidationError as error:
            refused.append(f"{_name(images, entry, place)}: {_reason(error)}")
        except ValueError as error:
            refused.append(f"{_name(images, entry, place)} {error}")
    _refuse(
        source,
        refused,
        "fetch or make both archives again, or give the files as `kind: folder`, which mends more",
    )
    check_names(classes.names, source)
    objects = [item for item in content["annotations"] if not item["iscrowd"]]
    learnt = sum(_is_learnt(item, images[item["image_id"]]) for item in objects)
    if learnt < len(objects):
        report(
            f"{source}: {len(objects) - learnt:,} objects have no size or lie outside, and are not trained on"
        )
    if not learnt:
        raise PacavitError(
            f"{source}: no object that can be learnt: all are crowds, have no size or lie outside their images; "
            "expected boxes in pixels of the images"
        )
    return classes


def _is_learnt(item: Mapping[str, Any], image: Image) -> bool:
    """Return whether mmdetection trains on an object: one of a pixel at least, and within its image."""
    x, y, width, height = item["bbox"]
    across, down = min(x + width, image.width) - max(x, 0), min(y + height, image.height) - max(y, 0)
    return item["area"] > 0 and min(width, height) >= 1 and min(across, down) > 0


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
        raise ValueError(f"is a {_kind(entry)}, not an object of JSON")
    masks = entry.get("segmentation")
    if not masks or (isinstance(masks, list) and not any(part != [] for part in masks)):
        raise ValueError("has no segmentation, which Mask R-CNN learns from: add masks")
    if entry.get("bbox") == []:
        entry = {**entry, "bbox": None}
    item = Annotation.model_validate(entry, context=split.mended)
    _check_references(item, split.images, split.classes)
    if item.ignore:
        return _drop(split, "marked to be ignored", name)
    width, height = size = sizes[item.image_id]
    segmentation, bounds = _mask(split, item.segmentation, size)
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


def _check_references(
    item: Annotation | PackedAnnotation, images: Mapping[int, Image], classes: Classes
) -> None:
    if item.image_id not in images:
        raise ValueError("is of an image that is not among the images")
    if item.category_id not in classes.ids:
        raise ValueError(f"is of category {item.category_id}, which is not among the categories")


def _check_lengths(mask: RunLengths, width: int, height: int) -> None:
    if mask.size != [height, width]:
        raise ValueError(
            f"has run lengths of height {mask.size[0]} and width {mask.size[1]}, and its image has height {height} "
            f"and width {width}"
        )
    try:
        lengths = mask.lengths()
    except ValueError as error:
        raise ValueError(f"has run lengths that cannot be read ({error})") from None
    if min(lengths, default=0) < 0 or sum(lengths) != width * height:
        raise ValueError(
            f"has run lengths of {sum(lengths)} pixels in all, and its image has {width * height}"
        )


def _is_encodable(segmentation: Any) -> bool:
    return isinstance(segmentation, list) or isinstance(segmentation["counts"], list)


def _mask(split: Split, mask: Any, size: tuple[int, int]) -> tuple[Any, Box]:
    """Return a mask within the image, empty if there is none, and the box around the whole of it.

    Raises:
        ValueError: it is none.
    """
    width, height = size
    if isinstance(mask, RunLengths):
        _check_lengths(mask, width, height)
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
    if given is None or (min(given[2:]) == 0 <= max(given[2:])):
        split.mended["box computed from the mask"] += 1
        return bounds
    x, y, width, height = box = tuple(given)
    if min(width, height) < 0:
        raise ValueError(
            f"has a box of width {width:g} and height {height:g}; expected left, top, width and height"
        )
    if max(abs(value) for value in (*box, *bounds)) <= 1:
        raise ValueError("has coordinates from 0 to 1; expected pixels, not shares of the image's size")
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


def _name(images: Mapping[int, Image], entry: Any, place: int) -> str:
    """Return how a message calls an annotation: by id and image, as far as it has them."""
    known = entry if isinstance(entry, dict) else {}
    number = known.get("id")
    name = f"annotation {number}" if number is not None else f"annotation in place {place}"
    image = known.get("image_id")
    if image is None:
        return name
    found = images.get(image) if isinstance(image, int) else None
    return f"{name} of image {image}{f' ({found.file_name})' if found else ''}"


def _reason(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("polygons", "rle"))
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{where}: {message}" if where else message


def _refuse(source: Path | str, refused: Sequence[str], remedy: str = "mend or remove it") -> None:
    if refused:
        raise PacavitError(f"{source}: {listed(refused)}; {remedy}")


def listed(items: Sequence[str]) -> str:
    """Return the first items in one line, and how many more there are."""
    more = f"; and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return "; ".join(items[:_NAMED]) + more


def _kind(value: Any) -> str:
    return {dict: "mapping", list: "list", str: "text", type(None): "null"}.get(type(value), "number")


def summarize(
    title: str,
    classes: Classes,
    objects: Sequence[Mapping[str, Any]],
    images: int,
    split: Split | None = None,
) -> None:
    """Report images, objects of each class, and what was mended and dropped."""
    found = Counter(item["category_id"] for item in objects)
    empty = images - len({item["image_id"] for item in objects})
    crowds = sum(item["iscrowd"] for item in objects)
    named = [f"{label}: {found[number]:,}" for number, label in zip(classes.ids, classes.labels, strict=True)]
    more = f" and {len(named) - _CLASSES:,} more classes" if len(named) > _CLASSES else ""
    report(
        f"{title}: {images:,} images, {empty:,} of them without objects; {len(objects):,} objects, {crowds:,} of them "
        f"crowds; {', '.join(named[:_CLASSES])}{more}"
    )
    if split is not None:
        for what, count in sorted(split.mended.items()):
            report(f"{title}: mended: {what}, {count:,} times")
        for reason, names in sorted(split.dropped.items()):
            report(f"{title}: dropped: {len(names):,} objects {reason}: {listed(names)}")
