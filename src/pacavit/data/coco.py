"""COCO 2017: the official archives, and the folder of images and annotations that training reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pacavit.data import annotations, tasks
from pacavit.data import archives as archive_tools
from pacavit.data.archives import list_zip
from pacavit.data.extraction import extract, image_parts
from pacavit.data.manifest import check_official, shared_images, write_manifest
from pacavit.errors import PacavitError
from pacavit.files import resumable_directory, sha256
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
        counts, found = {}, {}
        for split, name in SPLITS.items():
            with archive_tools.reading(job.inputs[split], remedy):
                names = list_zip(job.inputs[split], options.max_gigabytes, keep=f"{name}/")
                parts = image_parts(job.inputs[split], names, split, official=options.complete)
                records = tasks.run(folder, parts, f"prepare coco {split}", job.work, remedy)
            sizes = {Path(p).name: tuple(f["size"]) for r in records for p, f in r.facts.items()}
            for record in records:
                files |= record.files
            path = annotation_file(folder, split)
            content = _read_annotations(path, job.inputs["annotations"], files)
            source = f"{job.inputs['annotations']}: {path.name}"
            found[split] = annotations.check(content, sizes, source)
            counts[split] = len(content["images"])
            annotations.summarize(f"coco {split}", found[split], content["annotations"], counts[split])
        classes = found["val"]
        if classes != found["train"]:
            raise PacavitError(
                f"{source}: its categories are not those of the training images; use one list for both"
            )
        if options.complete:
            check_official("coco", list(classes.names), counts, job.scale)
        tasks.clear(folder)
        train, val = (
            {Path(path).name: files[path] for path in files if path.startswith(f"{name}/")}
            for name in SPLITS.values()
        )
        shared = shared_images("coco", train, val, job.inputs["annotations"])
        write_manifest(folder, "coco", list(classes.names), counts, files, ids=classes.ids, shared=shared)


def _read_annotations(path: Path, archive: Path, files: dict[str, str]) -> dict[str, Any]:
    """Return the content of an annotation file of a prepared folder, which is plain UTF-8 afterwards."""
    name = f"annotations/{path.name}"
    if not path.is_file():
        raise PacavitError(f"{archive}: no {name} in it; fetch or make it again")
    given = path.read_bytes()
    content = annotations.decode(given, f"{archive}: {name}")
    if not given.startswith(b"{"):
        # pycocotools reads UTF-8 without a byte order mark alone.
        path.write_bytes(json.dumps(content, sort_keys=True).encode())
        files[name] = sha256(path)
    return content
