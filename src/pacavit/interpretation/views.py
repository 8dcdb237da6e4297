"""What a model does with the patches of an image: its assignments to clusters, and its attention to these.

Works for every kind of clustering, since it looks at the attention modules as they run: whoever made the assignment,
the clustering of the block, that of an earlier one or the teacher's, they have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from pacavit.models import PaCaViT
from pacavit.models.paca_vit import PatchToClusterAttention


@dataclass(frozen=True)
class View:
    """One attention over a grid of H × W = N patches, in numbers.

    Attributes:
        name: ``stage 1`` to ``stage 4``, or ``head`` for that of the PaCa segmentation head.
        size: (H, W).
        assignment: (M, H, W); each cluster's weights sum to one over the patches. None where patches attend to patches.
        attention: (h, N, M) for each head h, or (h, N, N) without clusters; sums to one over the last axis.
        names: of the clusters, where they have one: the segmentation head has a cluster for each class.
    """

    name: str
    size: tuple[int, int]
    assignment: np.ndarray | None
    attention: np.ndarray
    names: Sequence[str] | None = None

    @property
    def strongest(self) -> np.ndarray:
        """The cluster (H, W) with the largest weight at each patch: clusters compare by their share at a patch."""
        if self.assignment is None:
            raise ValueError(f"{self.name}: patches attend to patches, so that there are no clusters")
        return self.assignment.argmax(axis=0)

    def to_patches(self, patch: tuple[int, int]) -> np.ndarray:
        """Return where a patch (row, column) looks: for each head (h, H, W), which sums to one over the patches.

        The attention to each cluster is spread over the patches that the cluster consists of; what the layer norm of
        the clusters and the values do to them is left out.
        """
        weights = self.attention[:, patch[0] * self.size[1] + patch[1]]
        if self.assignment is not None:
            weights = weights @ self.assignment.reshape(len(self.assignment), -1)
        return weights.reshape(-1, *self.size)


@dataclass(frozen=True)
class Assigned:
    """The clusters of one attention over a grid, without the attention.

    Attributes:
        assignment: (M, H, W), as of :class:`View`.
        features: (N, C) of the patches from which the clusters are made; None for the head.
    """

    assignment: np.ndarray
    features: np.ndarray | None

    @property
    def strongest(self) -> np.ndarray:
        """The cluster (H, W) with the largest weight at each patch."""
        return self.assignment.argmax(axis=0)


def observe(
    model: torch.nn.Module, image: Image.Image, names: Sequence[str] | None = None, block: int = 0
) -> list[View]:
    """Return a view of each stage on an RGB image of at least 32 pixels a side, and of the PaCa head if there is one.

    Args:
        model: in evaluation mode; a backbone, or a dense model around it.
        image: as it is given to the model, but for the normalisation.
        names: of the classes, for the head.
        block: of each stage, -1 for its last. The blocks of a stage share the assignment but in block-wise mode.

    Raises:
        IndexError: a stage has no such block.
    """

    def look(module: PatchToClusterAttention, x: Tensor, size: tuple[int, int], z: Tensor | None) -> tuple:
        return size, _map(z, size), module.weights(x, z)[0].cpu().numpy()

    seen, head = _run(model, image, block, look)
    views = [View(name, *values) for name, values in seen.items()]
    if head is not None:
        assignment, attention = head
        views.append(View("head", assignment.shape[1:], assignment, attention, names))
    return views


def assigned(model: torch.nn.Module, image: Image.Image) -> dict[str, Assigned]:
    """Return the clusters of each stage that has some, in its first block, and of the PaCa head: as `observe`."""

    def look(module: PatchToClusterAttention, x: Tensor, size: tuple[int, int], z: Tensor | None) -> Any:
        return None if z is None else Assigned(_map(z, size), x[0].cpu().numpy())

    seen, head = _run(model, image, 0, look)
    found = {name: values for name, values in seen.items() if values is not None}
    return found if head is None else {**found, "head": Assigned(head[0], None)}


#: Takes a module, its tokens (1, N, C), their grid, and the assignment (1, M, N) in use or None.
Look = Callable[[PatchToClusterAttention, Tensor, tuple[int, int], Tensor | None], Any]


def _run(
    model: torch.nn.Module, image: Image.Image, block: int, look: Look
) -> tuple[dict[str, Any], tuple[np.ndarray, np.ndarray] | None]:
    """Return what is seen in a block of each stage, and assignment and attention of the PaCa head."""
    backbone: PaCaViT = getattr(model, "backbone", model)
    stages = [getattr(backbone, f"stage{i}") for i in range(1, backbone.num_stages + 1)]
    blocks = {f"stage {i}": stage[block].attn for i, stage in enumerate(stages, start=1)}
    with torch.inference_mode(), _watched(blocks, look) as seen:
        maps = backbone(_batch(image).to(next(model.parameters()).device))
        head = getattr(model, "decode_head", None)
        if not hasattr(head, "weights"):
            return seen, None
        assignment, attention = head.weights(maps)
        return seen, (assignment[0].cpu().numpy(), attention[0].cpu().numpy())


def _batch(image: Image.Image) -> Tensor:
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    normed = (pixels - IMAGENET_DEFAULT_MEAN) / IMAGENET_DEFAULT_STD
    return torch.from_numpy(normed.astype(np.float32)).permute(2, 0, 1)[None]


def _map(assignment: Tensor | None, size: tuple[int, int]) -> np.ndarray | None:
    return None if assignment is None else assignment[0].unflatten(1, size).cpu().numpy()


@contextmanager
def _watched(modules: dict[str, PatchToClusterAttention], look: Look) -> Iterator[dict[str, Any]]:
    """Note what ``look`` sees in modules, by their names, as they run."""
    seen: dict[str, Any] = {}

    def note(name: str, module: PatchToClusterAttention, inputs: tuple, output: tuple) -> None:
        x, size = inputs[:2]
        seen[name] = look(module, x, size, output[1] if module.num_clusters else None)

    handles = [
        module.register_forward_hook(lambda *call, name=name: note(name, *call))
        for name, module in modules.items()
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
