"""Cluster assignment of each stage over an image."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from pacavit.checkpoints import read
from pacavit.figures.style import bare, class_colours, figure
from pacavit.models import PaCaViT, variant_config

#: Heat maps a stage.
_SHOWN = 4


def load_backbone(weights: Path, variant: str, prefix: str = "", **kwargs: object) -> PaCaViT:
    """Return the trained backbone of a classifier, or of a dense model, whose keys have the prefix ``backbone.``."""
    state = {k.removeprefix(prefix): v for k, v in read(weights).weights.items() if k.startswith(prefix)}
    state = {key: value for key, value in state.items() if not key.startswith("head.")}
    model = PaCaViT(**{**variant_config(variant), "num_classes": 0, **kwargs})
    model.load_state_dict(state)
    return model.eval()


def assignments(model: PaCaViT, image: Image.Image) -> list[np.ndarray | None]:
    """Return each stage's assignment (M, H, W) of an RGB image, None where patches attend to patches."""
    pixels = np.asarray(image, dtype=np.float32) / 255
    normed = (pixels - IMAGENET_DEFAULT_MEAN) / IMAGENET_DEFAULT_STD
    batch = torch.from_numpy(normed.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        return [None if z is None else z[0].numpy() for z in model.assignments(batch)]


def draw_clusters(path: Path, image: Image.Image, maps: list[np.ndarray | None], title: str) -> None:
    """Draw, a row a stage: the image under each patch's strongest cluster, and the most used clusters as heat maps.

    A cluster is used by the patches for which it is the strongest; its heat map is scaled to its own maximum.
    """
    pixels = np.asarray(image, dtype=np.float64) / 255
    with figure(path, 1.5 * (_SHOWN + 2), 1.7 * len(maps) + 0.3) as canvas:
        canvas.suptitle(title)
        axes = canvas.subplots(len(maps), _SHOWN + 2)
        for stage, (row, assignment) in enumerate(zip(axes, maps, strict=True), start=1):
            for axis in row:
                bare(axis)
            row[0].imshow(pixels)
            if assignment is None:
                row[0].set_title(f"stage {stage}")
                note = row[1].text(0, 0.5, "plain attention between patches: no clusters", va="center")
                note.set_in_layout(False)
                for axis in row[1:]:
                    axis.axis("off")
                continue
            row[0].set_title(f"stage {stage}")
            _draw_stage(row[1:], pixels, assignment)


def _draw_stage(axes: np.ndarray, pixels: np.ndarray, assignment: np.ndarray) -> None:
    # A cluster's weights sum to one over the patches, so clusters compare by their share at a patch.
    hard = assignment.argmax(axis=0)
    used, counts = np.unique(hard, return_counts=True)
    order = used[np.argsort(-counts, kind="stable")]
    colours = class_colours(len(assignment))
    size = (pixels.shape[1], pixels.shape[0])
    overlay = Image.fromarray((colours[hard] * 255).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    axes[0].imshow(0.35 * pixels + 0.65 * np.asarray(overlay) / 255)
    axes[0].set_title(f"{len(used)} of {len(assignment)} used")
    heat = mpl.colormaps["cividis"]
    for axis, cluster in zip(axes[1:], order, strict=False):
        axis.imshow(heat(assignment[cluster] / assignment[cluster].max()))
        axis.set_title(f"cluster {cluster}: {np.mean(hard == cluster):.0%}")
    for axis in axes[1 + len(order) :]:
        axis.axis("off")
