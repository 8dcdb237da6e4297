"""Box and mask AP on COCO, by pycocotools."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch.utils.data import DataLoader
from tqdm import tqdm

from pacavit.data.classes import Classes
from pacavit.data.coco import annotation_file
from pacavit.job import Job
from pacavit.openmmlab import datasets, models
from pacavit.params.coco import CocoRecipe
from pacavit.params.evaluate import Evaluation
from pacavit.runtime.distributed import gather, is_main

#: The twelve numbers of COCO's summary, in its order.
SUMMARY = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")

Result = dict[str, Any]


def detection_loader(job: Job, recipe: CocoRecipe, options: Evaluation) -> DataLoader:
    """Return the validation images, in order."""
    dataset = datasets.detection(job.inputs["data"], "val", datasets.detection_testing(recipe))
    dataset.truth = annotation_file(job.inputs["data"], "val")
    return datasets.validation_loader(dataset, options.batch_size, options.workers)


def measure(model: torch.nn.Module, loader: DataLoader) -> dict[str, float]:
    """Return box and mask AP, as the learning curve shows them; nothing but in the main process."""
    results = predict(model, loader)
    if not is_main():
        return {}
    values = summaries(loader, results)
    return {f"{kind}_AP": values[kind]["AP"] or 0.0 for kind in ("bbox", "segm")}


def predict(model: torch.nn.Module, loader: DataLoader) -> list[Result]:
    """Return what the detector finds, as COCO results with run-length masks, by image.

    All processes call this together; the main one gets the results of all, the others none.
    """
    model.eval()
    found: list[Result] = []
    with models.scoped("mmdet"), torch.inference_mode():
        for batch in tqdm(loader, desc="detect", unit="batch", leave=False, disable=None):
            for sample in model.test_step(batch):
                found.extend(results_of(sample, loader.dataset.cat_ids))
    return sorted(itertools.chain(*gather(found)), key=lambda result: result["image_id"])


def summaries(loader: DataLoader, results: list[Result], per_class: bool = False) -> dict[str, Any]:
    """Return COCO's twelve numbers for ``bbox`` and ``segm``, from 0 to 1, None where nothing is to be found.

    With ``per_class``, also box and mask AP of each class, by its category id.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(loader.dataset.truth))
        measured = {kind: _summary(truth, results, kind) for kind in ("bbox", "segm")}
    values: dict[str, Any] = {kind: numbers for kind, (numbers, _) in measured.items()}
    if per_class:
        by_class = {f"{kind}_AP": numbers for kind, (_, numbers) in measured.items()}
        values["per_class"] = Classes.of_categories(truth.cats.values()).table(**by_class)
    return values


def _summary(
    truth: COCO, results: list[Result], kind: str
) -> tuple[Mapping[str, float | None], list[float | None]]:
    if not results:
        return dict.fromkeys(SUMMARY, 0.0), [0.0] * len(truth.getCatIds())
    # loadRes adds boxes and areas of its own to what it is given.
    own = [
        {key: value for key, value in result.items() if kind == "bbox" or key != "bbox"} for result in results
    ]
    evaluation = COCOeval(truth, truth.loadRes(own), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    numbers = {name: _defined(value) for name, value in zip(SUMMARY, evaluation.stats, strict=True)}
    # Precision by threshold, recall, class, area and number of detections; -1 where a class has no object.
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    by_class = [precision[:, :, i][precision[:, :, i] > -1] for i in range(precision.shape[2])]
    return numbers, [float(values.mean()) if values.size else None for values in by_class]


def _defined(value: float) -> float | None:
    return None if value < 0 else float(value)


def results_of(sample: Any, category_ids: Sequence[int]) -> list[Result]:
    """Return what the detector found in an image as COCO results, best first.

    Args:
        sample: what mmdetection's ``test_step`` gives of it.
        category_ids: COCO's number of each of the model's classes.
    """
    found = sample.pred_instances.cpu()
    masks = found.masks.numpy().astype(np.uint8)
    results = []
    for box, score, label, mask in zip(found.bboxes.tolist(), found.scores, found.labels, masks, strict=True):
        packed = rle.encode(np.asfortranarray(mask))
        results.append(
            {
                "image_id": sample.img_id,
                "category_id": category_ids[int(label)],
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "score": float(score),
                "segmentation": {"size": packed["size"], "counts": packed["counts"].decode()},
            }
        )
    return results
