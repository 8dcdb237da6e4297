"""Small models of every kind, which the tests of this folder share."""

import torch

from pacavit.models import PaCaViT
from pacavit.models.paca_vit import PatchToClusterAttention, create_clustering

CLUSTERINGS = ("conv", "mlp", "linear")
# Keywords that make one of each kind out of any four-stage model.
KINDS = {
    **{kind: {"clustering": kind} for kind in CLUSTERINGS},
    "block-wise": {"clustering_mode": "block"},
    "every stage": {"num_clusters": (4, 3, 2, 2)},
    "plain": {"num_clusters": (0, 0, 0, 0)},
    "teacher": {"num_clusters": (4, 3, 2, 2), "teacher_depths": (1, 2, 1, 1)},
}


def tiny(**kwargs) -> PaCaViT:
    """Return a model of 8 channels and six blocks, always with the same weights."""
    torch.manual_seed(0)
    sizes = {
        "embed_dims": (8, 8, 8, 8),
        "depths": (2, 2, 1, 1),
        "num_heads": (2, 2, 2, 2),
        "num_clusters": (4, 3, 2, 0),
    }
    return PaCaViT(**{**sizes, "num_classes": 5, **kwargs})


def attention(
    kind: str = "linear", num_clusters: int = 5, dim: int = 8, kernel_size: int = 7, **kwargs
) -> PatchToClusterAttention:
    """Return attention with two heads that makes its own clusters; ``plain`` has none."""
    torch.manual_seed(0)
    if kind == "plain":
        return PatchToClusterAttention(dim, 2, 0, **kwargs)
    clustering = create_clustering(kind, dim, num_clusters, kernel_size)
    return PatchToClusterAttention(dim, 2, num_clusters, clustering, **kwargs)
