"""Objects in images."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as rle

from pacavit.drawing.marks import Marked, class_legend, draw_objects
from pacavit.drawing.style import class_colours
from pacavit.measurement.coco import results_of
from pacavit.openmmlab import datasets, models
from pacavit.prediction.dense import Dense
from pacavit.prediction.images import Found
from pacavit.prediction.picture import fitted, picture
from pacavit.prediction.trained import Trained


class Predictor:
    """A trained detector.

    Args:
        trained: its weights and classes.
        device: to compute on.
        min_score: score above which an object counts.

    Raises:
        PacavitError: the weights do not fit.
    """

    def __init__(self, trained: Trained, device: torch.device, min_score: float) -> None:
        recipe = trained.params.coco.recipe
        encoder = models.backbone(trained.model, None, drop_path=0.0)
        config = models.mask_rcnn(encoder, len(trained.classes), recipe.detector)
        # Before the masks are made, each of which has the image's size. An object is dropped for a better one only, so
        # that those which remain are the evaluation's.
        config["test_cfg"]["rcnn"]["score_thr"] = min_score
        model = trained.into(models.build(config, "mmdet"), device)
        self._detect = Dense(model, datasets.detection_testing(recipe), "mmdet")
        self._ids = list(trained.classes.ids)
        self._colours = class_colours(len(self._ids))
        self._names = dict(zip(self._ids, trained.classes.names, strict=True))
        self._labels = dict(zip(self._ids, trained.classes.labels, strict=True))

    def __call__(self, found: Found, image: Image.Image, target: Path) -> dict[str, Any]:
        """Draw an RGB image with its objects into the folder, and return these as COCO results, the surest first."""
        results = results_of(self._detect(image, found.number), self._ids)
        objects = [{**result, "category": self._names[result["category_id"]]} for result in results]
        self._draw(target / f"{found.name}.png", image, objects)
        return {"objects": objects}

    def _draw(self, path: Path, image: Image.Image, objects: list[dict[str, Any]]) -> None:
        shown = fitted(image)
        across, down = shown.width / image.width, shown.height / image.height
        marked = []
        for item in objects:
            x, y, width, height = item["bbox"]
            box = x * across, y * down, width * across, height * down
            mask = Image.fromarray(rle.decode(item["segmentation"]))
            mask = np.asarray(mask.resize(shown.size, Image.Resampling.NEAREST))
            colour = self._colours[self._ids.index(item["category_id"])]
            text = f"{self._labels[item['category_id']]} {item['score']:.2f}"
            marked.append(Marked(box, mask, colour, text))
        counts = Counter(item["category_id"] for item in objects).most_common()
        with picture(path, shown) as (canvas, axis):
            axis.imshow(shown)
            names = [f"{self._labels[number]}: {count}" for number, count in counts]
            class_legend(canvas, names, [self._colours[self._ids.index(number)] for number, _ in counts])
            draw_objects(axis, marked)
