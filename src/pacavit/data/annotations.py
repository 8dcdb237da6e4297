"""The schema of annotations in COCO's JSON: as users write them, and as they are trained on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError
from pydantic_core import PydanticCustomError

from pacavit.data.classes import Classes, check_names
from pacavit.errors import PacavitError
from pacavit.files import listed, printable
from pacavit.runtime.progress import report

#: Entries that one message names.
_NAMED = 10
#: Classes that a summary names.
_CLASSES = 100
#: Images with a shorter side are not trained on by mmdetection, pixels.
SMALLEST = 32


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


def _flag(value: Any, info: Any) -> int:
    """Take 0, 1, booleans and text for them; null is 0."""
    return _whole(int(bool(value)) if value is None or isinstance(value, bool) else value, info)


def _crowd(value: Any, info: Any) -> int:
    """Take a flag, and count those that are missing."""
    if value is None:
        info.context["iscrowd set to 0"] += 1
    return _flag(value, info)


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
    iscrowd: Annotated[Literal[0, 1], BeforeValidator(_crowd), Field(validate_default=True)] = None
    ignore: Annotated[Literal[0, 1], BeforeValidator(_flag)] = 0


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
        raise PacavitError(f"{source} is not text in UTF-8 ({place}); save it as UTF-8") from None
    except (ValueError, RecursionError) as error:
        what = f"not JSON ({str(error) or type(error).__name__})" if content.strip() else "empty"
        raise PacavitError(f"{source} is {what}; export the annotations again") from None
    if not isinstance(value, dict):
        raise PacavitError(
            f"{source} is not COCO's JSON (a {kind_of(value)}); expected images, annotations and categories"
        )
    for key in ("images", "annotations", "categories"):
        if not isinstance(value.get(key), list):
            found = (
                f"{key} is a {kind_of(value[key])}, not a list" if value.get(key) is not None else f"no {key}"
            )
            raise PacavitError(
                f"{source} is not COCO's JSON ({found}); expected images, annotations and categories"
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


def index(content: Mapping[str, list], mended: Counter) -> tuple[dict[int, Image], Classes, list[str]]:
    """Return the images by id, the classes, and what is wrong with the entries of both."""
    refused: list[str] = []
    images = _entries(content["images"], Image, "image", mended, refused)
    categories = _entries(content["categories"], Category, "category", mended, refused)
    for kind, pairs in (
        ("image", [(image.id, image.file_name) for image in images]),
        ("category", [(category.id, category.name) for category in categories]),
    ):
        for number, names in repeated(pairs):
            refused.append(f"{kind} id {number} stands {len(names)} times ({', '.join(map(str, names))})")
    for name, numbers in repeated([(image.file_name, image.id) for image in images]):
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
                f"{kind} {number if number is not None else f'in place {place}'}: {reason_of(error)}"
            )
    return found


def repeated(pairs: Iterable[tuple[Any, Any]]) -> list[tuple[Any, list[Any]]]:
    """Return the keys that stand several times, with their values."""
    found: dict[Any, list[Any]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return [(key, values) for key, values in found.items() if len(values) > 1]


def check(content: Mapping[str, list], sizes: Mapping[str, tuple[int, int]], source: str) -> Classes:
    """Check annotations that are used as they are, and return their classes.

    Args:
        content: from :func:`decode`.
        sizes: width and height of each image by its name.
        source: for messages.

    Raises:
        PacavitError: something is missing or of another kind, or the parts do not refer to each other.
    """
    images, classes, refused = index(content, Counter())
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
            check_references(item, images, classes)
            if isinstance(item.segmentation, RunLengths):
                check_lengths(item.segmentation, images[item.image_id].width, images[item.image_id].height)
            elif len(next(iter(item.segmentation), [])) < 6:
                raise ValueError("has a polygon of fewer than three points")
        except ValueError as error:  # pydantic's among them
            refused.append(refusal(images, entry, place, error))
    refuse(
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


def check_references(
    item: Annotation | PackedAnnotation, images: Mapping[int, Image], classes: Classes
) -> None:
    if item.image_id not in images:
        raise ValueError("is of an unknown image")
    if item.category_id not in classes.ids:
        raise ValueError(f"is of an unknown category, {item.category_id}")


def check_lengths(mask: RunLengths, width: int, height: int) -> None:
    if mask.size != [height, width]:
        raise ValueError(
            f"has run lengths of height {mask.size[0]} and width {mask.size[1]}, and its image has height {height} "
            f"and width {width}"
        )
    try:
        lengths = mask.lengths()
    except ValueError as error:
        raise ValueError(f"has run lengths that cannot be read ({error})") from None
    if min(lengths, default=0) < 0:
        raise ValueError(f"has a run of {min(lengths)} pixels; expected lengths from 0 on")
    if sum(lengths) != width * height:
        raise ValueError(
            f"has run lengths of {sum(lengths)} pixels in all, and its image has {width * height}"
        )


def refusal(images: Mapping[int, Image], entry: Any, place: int, error: ValueError) -> str:
    """Return what is wrong with an annotation, with its id and its image as far as it has them."""
    reason = f": {reason_of(error)}" if isinstance(error, ValidationError) else f" {error}"
    name, where = names_of(images, entry, place)
    return f"{name}{reason}{where}"


def names_of(images: Mapping[int, Image], entry: Any, place: int) -> tuple[str, str]:
    """Return how a message calls an annotation, and its image."""
    known = entry if isinstance(entry, dict) else {}
    number, image = known.get("id"), known.get("image_id")
    name = f"annotation {number}" if number is not None else f"annotation in place {place}"
    if image is None:
        return name, ""
    found = images.get(image) if isinstance(image, int) else None
    return name, f" (image {image}{f', {printable(found.file_name)}' if found else ''})"


def reason_of(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("polygons", "rle"))
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{where}: {message}" if where else message


def refuse(source: Path | str, refused: Sequence[str], remedy: str = "mend or remove it") -> None:
    if refused:
        raise PacavitError(f"{source}: {listed(refused, _NAMED, '; ', '; and ')}; {remedy}")


def kind_of(value: Any) -> str:
    return {dict: "mapping", list: "list", str: "text", type(None): "null"}.get(type(value), "number")


def summarize(title: str, classes: Classes, objects: Sequence[Mapping[str, Any]], images: int) -> None:
    """Report how many images and objects there are, and how many of each class."""
    found = Counter(item["category_id"] for item in objects)
    empty = images - len({item["image_id"] for item in objects})
    crowds = sum(item["iscrowd"] for item in objects)
    named = [f"{label}: {found[number]:,}" for number, label in zip(classes.ids, classes.labels, strict=True)]
    rest = " classes" if len(named) > _CLASSES else ""
    report(
        f"{title}: {images:,} images, {empty:,} of them without objects; {len(objects):,} objects, {crowds:,} of them "
        f"crowds; {listed(named, _CLASSES)}{rest}"
    )
