"""Classes of pixels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pacavit.drawing.marks import blend, class_legend, coloured
from pacavit.drawing.style import class_colours
from pacavit.files import atomic_file
from pacavit.openmmlab import datasets, models
from pacavit.prediction.dense import Dense
from pacavit.prediction.images import LABELS, Found
from pacavit.prediction.picture import fitted, picture
from pacavit.prediction.trained import Trained

#: Most pixels of a label map before it is brought to the image's size: of each there is a number for every class, which
#: of 150 classes are 1.2 gigabytes here. ADE20K's images have fewer pixels, and so are labelled as in the evaluation.
MOST_PIXELS = 2_000_000


class Predictor:
    """A trained segmentor.

    Args:
        trained: its weights and classes.
        device: to compute on.

    Raises:
        PacavitError: the weights do not fit.
    """

    def __init__(self, trained: Trained, device: torch.device) -> None:
        page = trained.params.ade20k
        head, classes = str(trained.head), len(trained.classes)
        config = models.variant_segmentor(page, trained.model, head, classes, None, "BN")
        model = trained.into(models.build(config, "mmseg"), device)
        self._segment = Dense(model, datasets.segmentation_testing(page.recipe), "mmseg")
        self._classes = trained.classes
        self._colours = class_colours(len(trained.classes))

    def __call__(self, found: Found, image: Image.Image, target: Path) -> dict[str, Any]:
        """Draw an RGB image with its pixels' classes into the folder, write the label map, and return the shares.

        The map has the data set's form: classes count from 1, or from 0 with a background.
        """
        labels = self._labels(image, found.number)
        counts = np.bincount(labels.ravel(), minlength=len(self._classes))
        occurring = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]
        classes = [
            {
                "label": self._classes.ids[i],
                "class": self._classes.names[i],
                "share": float(counts[i] / labels.size),
            }
            for i in occurring
        ]
        name = f"{found.name}.png"
        ids = np.array(self._classes.ids, np.min_scalar_type(max(self._classes.ids)))
        with atomic_file(target / LABELS / name) as temporary:
            Image.fromarray(ids[labels]).save(temporary, format="PNG")
        self._draw(target / name, image, labels, occurring)
        return {"label_map": f"{LABELS}/{name}", "classes": classes}

    def _labels(self, image: Image.Image, number: int) -> np.ndarray:
        """Return the class of each pixel (H, W), from 0."""
        shrink = math.sqrt(MOST_PIXELS / (image.width * image.height))
        output = None
        if shrink < 1:
            output = max(1, int(image.height * shrink)), max(1, int(image.width * shrink))
        sample = self._segment(image, number, output)
        labels = sample.pred_sem_seg.data.squeeze(0).cpu().numpy().astype(np.int32)
        return labels if output is None else _resized(labels, image.size)

    def _draw(self, path: Path, image: Image.Image, labels: np.ndarray, occurring: list[int]) -> None:
        shown = fitted(image)
        overlay = coloured(_resized(labels, shown.size), self._colours)
        with picture(path, shown) as (canvas, axis):
            axis.imshow(blend(np.asarray(shown) / 255, overlay))
            class_legend(canvas, [self._classes.labels[i] for i in occurring], self._colours[occurring])


def _resized(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a label map of a width and height, each pixel with the label of the nearest."""
    return np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
