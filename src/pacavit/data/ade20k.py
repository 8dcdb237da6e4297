"""ADE20K (scene parsing, ADEChallengeData2016): the official archive, and the folder that training reads."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from pacavit.data import archives as archive_tools
from pacavit.data import digits
from pacavit.data.archives import add_to_zip, check_image, extract_zip, new_zip
from pacavit.data.digits import Scene
from pacavit.data.manifest import write_manifest
from pacavit.errors import PacavitError
from pacavit.files import atomic_directory
from pacavit.stages import Job

SPLITS = {"train": "training", "val": "validation"}
_TOP = "ADEChallengeData2016/"
_CLASSES = "objectInfo150.txt"


def archives(job: Job) -> None:
    """Make the miniature archive, or link the user's own."""
    source = job.params.data.ade20k.archives
    if source.kind == "own":
        archive_tools.take_own(job, source.directory)
        return
    counts = {"train": source.train_images, "val": source.val_images}
    with new_zip(job.outputs["all"]) as archive:
        for split, count in counts.items():
            for number in tqdm(range(count), desc=f"draw ade20k {split}", unit="image", disable=None):
                drawn = digits.scene(
                    "segmentation",
                    split,
                    source.seed,
                    number,
                    regions=2 + number % 3,
                    digits=(4, 8),
                    sides=(40, 64),
                    visible=0.95,  # one hidden digit under another is guesswork
                )
                stem = f"ADE_{split}_{number + 1:08d}"
                rng = digits.generator(source.seed, 5, number, list(SPLITS).index(split))
                add_to_zip(
                    archive, f"{_TOP}images/{SPLITS[split]}/{stem}.jpg", digits.encode(drawn.image, rng)
                )
                add_to_zip(archive, f"{_TOP}annotations/{SPLITS[split]}/{stem}.png", _png(_label_map(drawn)))
        add_to_zip(archive, _TOP + _CLASSES, _class_table().encode())
        add_to_zip(archive, f"{_TOP}sceneCategories.txt", _scene_table(counts).encode())


def prepare(job: Job) -> None:
    """Unpack the archive, open every image and label map once, and check that they fit together.

    Raises:
        PacavitError: the archive is damaged, an image broken, or a label map wrong.
    """
    archive = job.inputs["all"]
    with atomic_directory(job.outputs["data"]) as folder:
        with archive_tools.reading(archive, archive_tools.remedy(job)):
            limit = job.params.data.ade20k.prepare.max_gigabytes
            extract_zip(archive, folder, limit, keep=_TOP, strip=_TOP)
        classes = _read_classes(folder / _CLASSES, archive)
        counts = {split: _check_split(folder, name, len(classes), archive) for split, name in SPLITS.items()}
        write_manifest(folder, "ade20k", classes, counts)


def _read_classes(path: Path, archive: Path) -> list[str]:
    """Return the class names of the official table: number, ratio, counts and name, by tabs."""
    if not path.is_file():
        raise PacavitError(f"{archive}: no {_TOP}{_CLASSES} in it; fetch or make it again")
    rows = [line.split("\t") for line in path.read_text().splitlines()[1:] if line.strip()]
    if not rows:
        raise PacavitError(f"{archive}: {_CLASSES} lists no classes; fetch or make it again")
    return [row[-1].split(",")[0].strip() for row in rows]


def _check_split(folder: Path, name: str, num_classes: int, archive: Path) -> int:
    images = sorted((folder / "images" / name).glob("*.jpg"))
    if not images:
        raise PacavitError(f"{archive}: no images/{name}/*.jpg in it; fetch or make it again")
    for image in tqdm(images, desc=f"check ade20k {name}", unit="image", disable=None):
        size = check_image(image, f"images/{name}/{image.name}")
        label_path = folder / "annotations" / name / f"{image.stem}.png"
        label_name = f"annotations/{name}/{label_path.name}"
        if not label_path.is_file():
            raise PacavitError(f"{archive}: no {label_name} for its image; fetch or make it again")
        check_image(label_path, label_name)
        with Image.open(label_path) as labels:
            if labels.mode not in ("L", "P") or labels.size != size:
                raise PacavitError(
                    f"{archive}: {label_name} is {labels.mode} {labels.size}, not one byte a pixel of {size}"
                )
            largest = int(np.asarray(labels).max())
        if largest > num_classes:
            raise PacavitError(f"{archive}: {label_name} has class {largest}, but there are {num_classes}")
    return len(images)


def _label_map(drawn: Scene) -> np.ndarray:
    """Return classes (H, W) from 1: the ten digits, then the textures; 0 is unlabelled."""
    labels = np.where(drawn.stuff < 0, 0, drawn.stuff + 1 + len(digits.CLASSES)).astype(np.uint8)
    for instance in drawn.instances:
        labels[instance.mask] = instance.label + 1
    return labels


def _png(labels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(labels).save(file, "PNG")
    return file.getvalue()


def _class_table() -> str:
    names = (*digits.CLASSES, *digits.TEXTURES)
    rows = [f"{number}\t0\t0\t0\t{name}" for number, name in enumerate(names, start=1)]
    return "\n".join(["Idx\tRatio\tTrain\tVal\tName", *rows]) + "\n"


def _scene_table(counts: dict[str, int]) -> str:
    return "".join(
        f"ADE_{split}_{number + 1:08d} digits\n" for split, count in counts.items() for number in range(count)
    )
