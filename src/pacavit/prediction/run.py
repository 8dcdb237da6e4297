"""The command ``predict``: a picture of each image with what the model found, and one file with all of it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from pacavit.checkpoints.tables import Head, Task
from pacavit.errors import PacavitError
from pacavit.files import sha256, write_json
from pacavit.prediction.images import find, read, require_folder
from pacavit.prediction.trained import take
from pacavit.runtime.distributed import process_group

RESULTS = "predictions.json"


def predict(
    task: Task,
    images: Sequence[Path],
    weights: Path,
    variant: str,
    target: Path,
    head: Head | None = None,
    scale: str = "mini",
    class_file: Path | None = None,
    top: int = 5,
    min_score: float = 0.5,
) -> str:
    """Predict on images and write a PNG of each, and :data:`RESULTS` last, which an interrupted run has not.

    Args:
        task: what the weights are for.
        images: files, or folders that are searched.
        weights: any file that :func:`pacavit.checkpoints.read` takes.
        variant: what it holds.
        target: folder to write into; files of the same names are replaced.
        head: of a segmentor; None tells it from the weights.
        scale: whose parameters the model was trained with.
        class_file: class names, a line each; None takes those of the scale's prepared data set.
        top: classes to name of an image, for imagenet.
        min_score: score above which an object counts, for coco.

    Returns:
        A line on what was written.

    Raises:
        PacavitError: an image, the weights or the names of the classes cannot be used, or ``target`` cannot be written.
    """
    require_folder(target)
    if (target / RESULTS).is_dir():
        raise PacavitError(f"{target / RESULTS}: is a folder; remove it or give another folder as --to")
    trained = take(weights, task, variant, head, scale, class_file)
    found = find(images, target)
    options = {"imagenet": {"top": top}, "coco": {"min_score": min_score}, "ade20k": {}}[task]
    results = []
    with process_group() as device:
        # The module of a task alone is imported, since mmdetection and mmsegmentation take seconds.
        predictor = importlib.import_module(f"pacavit.prediction.{task}").Predictor(
            trained, device, **options
        )
        (target / RESULTS).unlink(missing_ok=True)
        for item in tqdm(found, desc="predict", unit="image", disable=None):
            image = read(item.path)
            origin = {
                "id": item.number,
                "image": str(item.path),
                "picture": f"{item.name}.png",
                "width": image.width,
                "height": image.height,
            }
            results.append({**origin, **predictor(item, image, target)})
    write_json(
        target / RESULTS,
        {
            "task": task,
            "variant": variant,
            **({"head": trained.head} if trained.head else {}),
            "scale": scale,
            "weights": {"file": str(weights), "sha256": sha256(weights)},
            **options,
            "images": results,
        },
    )
    return f"{target}: {len(results)} pictures, and {RESULTS}"
