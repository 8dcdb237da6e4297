"""ADE20K (scene parsing, ADEChallengeData2016): the official archive, and the folder that training reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pacavit.data import archives as archive_tools
from pacavit.data import tasks
from pacavit.data.archives import list_zip
from pacavit.data.extraction import extract, image_parts
from pacavit.data.manifest import check_official, shared_images, write_manifest
from pacavit.errors import PacavitError
from pacavit.files import printable, resumable_directory
from pacavit.job import Job
from pacavit.runtime.progress import report

SPLITS = {"train": "training", "val": "validation"}
TOP = "ADEChallengeData2016/"
CLASSES = "objectInfo150.txt"
#: Name of label 0 where it is a class.
BACKGROUND = "background"
#: Label of pixels that do not count where 0 is a class; elsewhere they have 0.
IGNORED = 255
#: Most classes: mmsegmentation counts labels of one byte from 0, and takes 255 for none.
MOST_CLASSES = 254


def prepare(job: Job) -> None:
    """Unpack the archive, open every image and label map once, and check that they fit together.

    Raises:
        PacavitError: the archive is damaged, images are broken, or a label map is wrong.
    """
    archive, options = job.inputs["all"], job.params.data.ade20k.prepare
    with resumable_directory(job.outputs["data"], job.fingerprint) as folder:
        with archive_tools.reading(archive, archive_tools.remedy(job)):
            names = list_zip(archive, options.max_gigabytes, keep=TOP)
            tables = [name for name in names if "/" not in name.removeprefix(TOP)]
            files = extract(archive, tables, folder, strip=TOP)
            classes = _read_classes(folder / CLASSES, archive)
            counts: dict[str, int] = {}
            pixels: dict[str, Counter[int]] = {}
            for split in SPLITS:
                records = _unpack_split(job, folder, split, names)
                for record in records:
                    files |= record.files
                facts = {path: fact for record in records for path, fact in record.facts.items()}
                counts[split], pixels[split] = _check_split(facts, SPLITS[split], len(classes), archive)
        if options.complete:
            check_official("ade20k", classes, counts, job.scale)
        tasks.clear(folder)
        for line in _shares(pixels, classes):
            report(line)
        train, val = (
            {Path(path).name: files[path] for path in files if path.startswith(f"images/{name}/")}
            for name in SPLITS.values()
        )
        shared = shared_images("ade20k", train, val, archive)
        names, first = outputs(classes)
        write_manifest(folder, "ade20k", names, counts, files, first_class=first, shared=shared)


def outputs(classes: Sequence[str]) -> tuple[list[str], int]:
    """Return the names of a segmentor's outputs, and the label of the first one.

    Label 0 means unlabelled and is ignored. With one class that leaves nothing to tell it from, so label 0 becomes a
    class of its own, :data:`BACKGROUND`.

    Args:
        classes: names of the labels from 1 on.
    """
    return ([BACKGROUND, *classes], 0) if len(classes) == 1 else (list(classes), 1)


def _unpack_split(job: Job, folder: Path, split: str, names: list[str]) -> list[tasks.Record]:
    parts = [
        part
        for kind, called in (("images", "images"), ("annotations", "label maps"))
        for part in image_parts(
            job.inputs["all"],
            [name for name in names if name.startswith(f"{TOP}{kind}/{SPLITS[split]}/")],
            f"{split}-{kind}",
            strip=TOP,
            labels=kind == "annotations",
            kind=called,
            official=job.params.data.ade20k.prepare.complete,
        )
    ]
    return tasks.run(folder, parts, f"prepare ade20k {split}", job.work, archive_tools.remedy(job))


def _read_classes(path: Path, archive: Path) -> list[str]:
    """Return the class names of the official table: number, ratio, counts and name, by tabs."""
    if not path.is_file():
        raise PacavitError(f"{archive}: no {TOP}{CLASSES} in it; fetch or make it again")
    rows = [line.split("\t") for line in path.read_text().splitlines()[1:] if line.strip()]
    if not rows:
        raise PacavitError(f"{archive}: {CLASSES} lists no classes; fetch or make it again")
    if len(rows) > MOST_CLASSES:
        raise PacavitError(
            f"{archive}: {CLASSES} lists {len(rows)} classes, and label maps of one byte have room for {MOST_CLASSES}"
        )
    return [row[-1].split(",")[0].strip() for row in rows]


def _check_split(
    facts: Mapping[str, dict[str, Any]], name: str, num_classes: int, archive: Path
) -> tuple[int, Counter[int]]:
    """Check each image's label map, and return the number of images, and that of pixels by label."""
    images = sorted(path for path in facts if path.startswith(f"images/{name}/") and path.endswith(".jpg"))
    if not images:
        raise PacavitError(f"{archive}: no images/{name}/*.jpg in it; fetch or make it again")
    allowed = {*range(num_classes + 1), *([IGNORED] if num_classes == 1 else [])}
    pixels: Counter[int] = Counter()
    for image in images:
        size = tuple(facts[image]["size"])
        label_name = f"annotations/{name}/{Path(image).stem}.png"
        if label_name not in facts:
            raise PacavitError(f"{archive}: no {label_name} for its image; fetch or make it again")
        labels = facts[label_name]
        if labels["mode"] not in ("L", "P") or tuple(labels["size"]) != size:
            raise PacavitError(
                f"{archive}: {label_name} is {labels['mode']} {tuple(labels['size'])}, not one byte a pixel of {size}"
            )
        found = {int(label): count for label, count in labels["pixels"].items()}
        if other := found.keys() - allowed:
            raise PacavitError(f"{archive}: {label_name} has class {max(other)}, but there are {num_classes}")
        pixels.update(found)
    if not any(pixels[label] for label in range(1, num_classes + 1)):
        raise PacavitError(f"{archive}: no pixel of annotations/{name} has a class; fetch or make it again")
    return len(images), pixels


def _shares(pixels: Mapping[str, Counter[int]], classes: Sequence[str]) -> Iterator[str]:
    """Give a line for each class with its share of the pixels of each split."""
    yield f"prepare ade20k: share of the pixels of {' and '.join(pixels)}"
    names, first = outputs(classes)
    rows = {label: printable(name) for label, name in enumerate(names, start=first)}
    rows[0 if first else IGNORED] = "(no label)"
    for label, name in rows.items():
        shares = (counted[label] / counted.total() for counted in pixels.values())
        never = "" if any(counted[label] for counted in pixels.values()) else ", nowhere"
        yield f"  {name}: {', '.join(f'{share:.2%}' for share in shares)}{never}"
