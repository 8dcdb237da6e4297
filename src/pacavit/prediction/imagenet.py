"""Classes of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from pacavit.drawing.text import shortened
from pacavit.measurement.imagenet import classify, evaluation_transform
from pacavit.models import variants
from pacavit.prediction.images import Found
from pacavit.prediction.picture import fitted, picture
from pacavit.prediction.trained import Trained
from pacavit.runtime.precision import autocast_type

#: Classes that a picture has room for.
_SHOWN = 5
#: Size of their text, points.
_FONT = 10


class Predictor:
    """A trained classifier, with the preprocessing of its evaluation.

    Args:
        trained: its weights and classes.
        device: to compute on.
        top: classes to name of an image; all where there are fewer.

    Raises:
        PacavitError: the weights do not fit.
    """

    def __init__(self, trained: Trained, device: torch.device, top: int) -> None:
        recipe = trained.params.pretrain.recipe
        model = variants.create(trained.model, len(trained.classes), image_size=recipe.image_size)
        self._model = trained.into(model, device)
        self._transform = evaluation_transform(recipe.image_size, recipe.crop_pct)
        self._precision = autocast_type(recipe.precision, device)
        self._device, self._classes, self._top = device, trained.classes, min(top, len(trained.classes))

    def __call__(self, found: Found, image: Image.Image, target: Path) -> dict[str, Any]:
        """Draw an RGB image with its likeliest classes into the folder, and return these, the likeliest first."""
        with torch.inference_mode():
            inputs = self._transform(image)[None]
            logits = classify(self._model, inputs, self._device, self._precision)
        values, indices = logits[0].softmax(0).topk(self._top)
        classes = [
            {"class": index, "label": self._classes.names[index], "probability": value}
            for value, index in zip(values.tolist(), indices.tolist(), strict=True)
        ]
        labels = [self._classes.labels[item["class"]] for item in classes[:_SHOWN]]
        _draw(target / f"{found.name}.png", fitted(image), labels, values.tolist())
        return {"classes": classes}


def _draw(path: Path, image: Image.Image, labels: list[str], shares: list[float]) -> None:
    with picture(path, image, len(labels)) as (canvas, axis):
        axis.imshow(image)
        width = canvas.get_figwidth() - 0.15
        lines = [f"{share:.1%}  {label}" for label, share in zip(labels, shares, strict=False)]
        text = "\n".join(shortened(line, width, _FONT) for line in lines)
        canvas.suptitle(text, x=0.01, ha="left", fontsize=_FONT, parse_math=False)
