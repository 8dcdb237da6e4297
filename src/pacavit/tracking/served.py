"""Final weights as MLflow serves them: ``mlflow.pyfunc.load_model`` calls :func:`_load_pyfunc` of this module.

The file of weights and a description in plain values are all that is stored, beside this package; nothing is pickled.
The description's keys are ``task`` (``classification``, ``detection`` or ``segmentation``); ``classes``, distinct names
in the order of the model's outputs; ``ids``, those of the same classes in the data set; ``variant`` for
a classifier, the name that is registered with timm, and if need be ``kwargs`` and ``image_size``, as of
:func:`pacavit.models.variants.create`; or else ``config``, the model as mmengine configures it; and ``imports``, the
user's modules that make the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


class _Model:
    """A model on the CPU, in evaluation mode; its ``predict`` is what MLflow calls.

    Images are float32 arrays (B, 3, H, W) of RGB values from 0 to 255, as large as the model shall see them; they are
    normalised here.
    """

    def __init__(self, path: Path, description: Mapping[str, Any]) -> None:
        from pacavit.weights.fit import load

        self.classes = list(description["classes"])
        self.model = self.build(description).eval()
        load(self.model, path)


class Classifier(_Model):
    """A variant of any family; one of fixed image size takes that alone."""

    def build(self, description: Mapping[str, Any]) -> Any:
        """Return the model with random weights."""
        from pacavit.models import variants
        from pacavit.params.targets import Model

        name, imports = description["variant"], tuple(description.get("imports", ()))
        model = Model(name, name, dict(description.get("kwargs", {})), imports)
        return variants.create(model, len(self.classes), image_size=description.get("image_size"))

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the logits of images (B, 3, H, W): float32 (B, classes)."""
        import torch
        from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
        from torchvision.transforms.functional import normalize

        inputs = torch.from_numpy(np.asarray(images, np.float32)) / 255
        with torch.inference_mode():
            return self.model(normalize(inputs, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)).numpy()


class _Dense(_Model):
    scope: str

    def build(self, description: Mapping[str, Any]) -> Any:
        """Return the model with random weights."""
        from pacavit.openmmlab import models

        return models.build(description["config"], self.scope)

    def step(self, images: np.ndarray, samples: list[Any] | None = None) -> list[Any]:
        """Return what the model finds in images (B, 3, H, W), as a data sample of mmengine's each."""
        import torch

        from pacavit.openmmlab import models

        # The models' own preprocessing takes BGR, as OpenCV reads it.
        inputs = torch.from_numpy(np.ascontiguousarray(images[:, ::-1], np.float32))
        with models.scoped(self.scope), torch.inference_mode():
            return self.model.test_step({"inputs": list(inputs), "data_samples": samples})


class Detector(_Dense):
    """Mask R-CNN; its masks are left out."""

    scope = "mmdet"

    def predict(self, images: np.ndarray) -> pd.DataFrame:
        """Return the boxes of images (B, 3, H, W), a row each, the best of an image first.

        The columns are ``image``, its place in the batch, ``class``, ``score`` from 0 to 1, and ``left``, ``top``,
        ``right`` and ``bottom`` in pixels.
        """
        import pandas as pd
        from mmdet.structures import DetDataSample

        size = tuple(images.shape[2:])
        meta = {"img_shape": size, "ori_shape": size, "scale_factor": (1.0, 1.0)}
        samples = self.step(images, [DetDataSample(metainfo=meta) for _ in images])
        found = [sample.pred_instances for sample in samples]
        boxes = np.concatenate([one.bboxes.numpy().reshape(-1, 4) for one in found]).astype(np.float64)
        labels = np.concatenate([one.labels.numpy() for one in found])
        return pd.DataFrame(
            {
                "image": np.repeat(np.arange(len(found)), [len(one) for one in found]),
                "class": [self.classes[label] for label in labels],
                "score": np.concatenate([one.scores.numpy() for one in found]).astype(np.float64),
                **dict(zip(("left", "top", "right", "bottom"), boxes.T, strict=True)),
            }
        )


class Segmentor(_Dense):
    """Semantic segmentation with any head."""

    scope = "mmseg"

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the class of each pixel of images (B, 3, H, W), from 0 in their order: int64 (B, H, W)."""
        return np.stack([sample.pred_sem_seg.data[0].numpy() for sample in self.step(images)])


#: Classes by the description's ``task``.
TASKS: Mapping[str, type[_Model]] = {
    "classification": Classifier,
    "detection": Detector,
    "segmentation": Segmentor,
}


def _load_pyfunc(data_path: str, model_config: Mapping[str, Any]) -> _Model:
    return TASKS[model_config["task"]](Path(data_path), model_config)
