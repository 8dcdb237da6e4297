"""Updates of the three tasks on a GPU at the paper's sizes: images/s, by part, and the wait for data.

By part the GPU is waited for at each border, so that an update then takes longer; its time, and the wait for data, are
of a training that is left to itself. The images are the miniature's scenes enlarged as the recipes enlarge photos.
"""

from __future__ import annotations

from pathlib import Path

import dense
import timm
from cuda_measuring import device, forget, rehearsal, wait
from measuring import Figure
from miniature import prepared
from safetensors.torch import save_file

from pacavit import params
from pacavit.tasks import TASKS

if rehearsal():
    dense.SCALE, dense.VARIANT = "mini", "test_pacavit"
#: Of updates, before those that count: a GPU chooses its kernels in the first ones.
_WARM = 1 if rehearsal() else 5


def measure(rounds: int) -> list[Figure]:
    """Train Mask R-CNN and each head for some updates, left alone and by part, and pretrain."""
    updates = dense.WARM + _WARM + rounds
    figures = []
    with prepared(TASKS):
        weights = Path("pretrained.safetensors")
        save_file(timm.create_model(dense.VARIANT).state_dict(), weights)
        for task, head in (("coco", "paca"), ("ade20k", "paca"), ("ade20k", "upernet")):
            figures += _finetuned(
                f"{task} {head}" if task == "ade20k" else task, task, head, weights, updates
            )
            forget()
        parts = dense.pretrained(updates, device())
        figures += _left_alone("pretraining", parts, params.load(dense.SCALE).pretrain.recipe.micro_batch)
    return figures


def _finetuned(title: str, task: str, head: str, weights: Path, updates: int) -> list[Figure]:
    alone = dense.finetuned(task, head, weights, updates, device())
    forget()
    parts = dense.finetuned(task, head, weights, updates, device(), wait)
    names = [name for name in parts.seconds if name not in ("update", "waiting for data")]
    return [
        *_left_alone(title, alone, 2),
        *(Figure(f"{title}, {name}", parts.share(name)[_WARM:], "%") for name in names),
    ]


def _left_alone(title: str, parts: dense.Parts, images: int) -> list[Figure]:
    times = parts.seconds["update"][dense.WARM + _WARM :]
    return [
        Figure(f"{title}, update of {images} images", [1e3 * t for t in times], "ms"),
        Figure(f"{title}, images/s", [images / t for t in times], "images/s"),
        Figure(f"{title}, waiting for data", parts.share("waiting for data")[_WARM:], "%"),
    ]
