"""ADE20K (scene parsing, ADEChallengeData2016): the official archive, and the folder that training reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pacavit.data import archives as archive_tools
from pacavit.data import tasks
from pacavit.data.archives import list_zip
from pacavit.data.classes import check_names
from pacavit.data.extraction import extract, image_parts
from pacavit.data.manifest import check_official, write_manifest
from pacavit.errors import PacavitError
from pacavit.files import resumable_directory
from pacavit.job import Job

SPLITS = {"train": "training", "val": "validation"}
TOP = "ADEChallengeData2016/"
CLASSES = "objectInfo150.txt"


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
            counts = {}
            for split in SPLITS:
                records = _unpack_split(job, folder, split, names)
                for record in records:
                    files |= record.files
                facts = {path: fact for record in records for path, fact in record.facts.items()}
                counts[split] = _check_split(facts, SPLITS[split], len(classes), archive)
        if options.complete:
            check_official("ade20k", classes, counts, job.scale)
        tasks.clear(folder)
        write_manifest(folder, "ade20k", classes, counts, files)


def _unpack_split(job: Job, folder: Path, split: str, names: list[str]) -> list[tasks.Record]:
    parts = [
        part
        for kind in ("images", "annotations")
        for part in image_parts(
            job.inputs["all"],
            [name for name in names if name.startswith(f"{TOP}{kind}/{SPLITS[split]}/")],
            f"{split}-{kind}",
            strip=TOP,
            largest=kind == "annotations",
        )
    ]
    return tasks.run(folder, parts, f"prepare ade20k {split}", job.work)


def _read_classes(path: Path, archive: Path) -> list[str]:
    """Return the class names of the official table: number, ratio, counts and name, by tabs."""
    if not path.is_file():
        raise PacavitError(f"{archive}: no {TOP}{CLASSES} in it; fetch or make it again")
    try:
        # Not `splitlines`, which takes rarer characters than line breaks for the end of a name.
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise PacavitError(f"{archive}: {CLASSES} is not text in UTF-8 ({error}); make it again") from None
    names = [line.split("\t")[-1].strip() for line in lines[1:] if line.strip(" \r")]
    if not names:
        raise PacavitError(f"{archive}: {CLASSES} lists no classes; fetch or make it again")
    check_names(names, f"{archive}: {CLASSES}")
    return names


def _check_split(facts: Mapping[str, dict[str, Any]], name: str, num_classes: int, archive: Path) -> int:
    """Check each image's label map, and return the number of images."""
    images = sorted(path for path in facts if path.startswith(f"images/{name}/") and path.endswith(".jpg"))
    if not images:
        raise PacavitError(f"{archive}: no images/{name}/*.jpg in it; fetch or make it again")
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
        if labels["largest"] > num_classes:
            raise PacavitError(
                f"{archive}: {label_name} has class {labels['largest']}, but there are {num_classes}"
            )
    return len(images)
