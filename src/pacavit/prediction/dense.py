"""What detection and segmentation share: one image through mmdetection's or mmsegmentation's evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.dataset import Compose, pseudo_collate
from PIL import Image

from pacavit.openmmlab import datasets, models


class Dense:
    """A detector or segmentor, with the preprocessing of its evaluation.

    Args:
        model: in its evaluation mode.
        pipeline: of the evaluation.
        scope: ``mmdet`` or ``mmseg``.
    """

    def __init__(self, model: torch.nn.Module, pipeline: list[datasets.Config], scope: str) -> None:
        self._model, self._scope = model, scope
        with models.scoped(scope):
            self._transform = Compose(datasets.in_memory(pipeline))

    def __call__(self, image: Image.Image, number: int, output: tuple[int, int] | None = None) -> Any:
        """Return the data sample of an RGB image.

        Args:
            image: of any size.
            number: its ``img_id``.
            output: height and width of the label map, pixels; None takes the image's.
        """
        pixels = np.ascontiguousarray(np.asarray(image)[:, :, ::-1])
        with models.scoped(self._scope), torch.inference_mode():
            data = self._transform({"img": pixels, "img_id": number})
            if output is not None:
                data["data_samples"].set_metainfo({"ori_shape": output})
            return self._model.test_step(pseudo_collate([data]))[0]
