"""Mean IoU, mean accuracy and pixel accuracy on ADE20K, from one confusion matrix."""

from __future__ import annotations

import itertools
from collections.abc import Container
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from pacavit.job import Job
from pacavit.openmmlab import datasets, models
from pacavit.openmmlab.models import IGNORED
from pacavit.params.ade20k import Ade20kRecipe
from pacavit.params.evaluate import Evaluation
from pacavit.runtime.distributed import gather, rank, world_size

#: Name, predicted and true label map (H, W) of an image, by its number.
Maps = dict[int, tuple[str, np.ndarray, np.ndarray]]


class Confusion:
    """Counts of pixels by true and predicted class; unlabelled pixels do not count.

    Args:
        num_classes: K.
        background: the first class is the background, which the means leave out.
    """

    def __init__(self, num_classes: int, background: bool = False) -> None:
        self.counts = np.zeros((num_classes, num_classes), np.int64)
        self._measured = slice(1 if background else 0, None)

    def add(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Count two label maps (H, W) of classes from 0; ``truth`` has 255 where there is no label."""
        labelled = truth != IGNORED
        size = len(self.counts)
        pairs = truth[labelled].astype(np.int64) * size + prediction[labelled]
        self.counts += np.bincount(pairs, minlength=size * size).reshape(size, size)

    def iou(self) -> np.ndarray:
        """Return the intersection over union of each class (K,), nan for one that is nowhere."""
        hits = np.diag(self.counts)
        with np.errstate(invalid="ignore"):
            return hits / (self.counts.sum(0) + self.counts.sum(1) - hits)

    def summary(self) -> dict[str, float | None]:
        """Return ``mIoU``, ``mAcc`` and ``aAcc`` from 0 to 1, None where no class occurs.

        The first two are means over the classes that occur. With one class and the background they are those of the
        class alone.
        """
        hits = np.diag(self.counts)
        with np.errstate(invalid="ignore"):
            recall = hits / self.counts.sum(1)
        return {
            "mIoU": _mean(self.iou()[self._measured]),
            "mAcc": _mean(recall[self._measured]),
            "aAcc": float(hits.sum() / self.counts.sum()) if self.counts.any() else None,
        }


def _mean(values: np.ndarray) -> float | None:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else None


def segmentation_loader(job: Job, recipe: Ade20kRecipe, options: Evaluation) -> DataLoader:
    """Return the validation images, in order."""
    dataset = datasets.segmentation(job.inputs["data"], "val", datasets.segmentation_testing(recipe))
    return datasets.validation_loader(dataset, options.batch_size, options.workers)


def measure(
    model: torch.nn.Module,
    loader: DataLoader,
    num_classes: int,
    kept: Maps | None = None,
    keep: Container[int] = (),
) -> Confusion:
    """Return the confusion over all images.

    All processes call this together; the main one gets the counts of all, the others their own.

    Args:
        model: of this process.
        loader: from :func:`segmentation_loader`.
        num_classes: K.
        kept: takes the label maps of this process's share of the images to ``keep``.
        keep: their numbers.
    """
    model.eval()
    confusion = Confusion(num_classes, background=not loader.dataset.reduce_zero_label)
    with models.scoped("mmseg"), torch.inference_mode():
        numbers = itertools.count(rank(), world_size())
        for batch in tqdm(loader, desc="segment", unit="batch", leave=False, disable=None):
            for sample, number in zip(model.test_step(batch), numbers, strict=False):
                truth = sample.gt_sem_seg.data.squeeze(0).cpu().numpy().astype(np.uint8)
                prediction = sample.pred_sem_seg.data.squeeze(0).cpu().numpy().astype(np.uint8)
                confusion.add(truth, prediction)
                if kept is not None and number in keep:
                    kept[number] = (Path(sample.img_path).stem, prediction, truth)
    if parts := gather(confusion.counts):
        confusion.counts = np.sum(parts, axis=0)
    return confusion
