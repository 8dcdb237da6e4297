"""How far clusters of patches agree with labels or with other clusters, from one table of counts.

- Normalised mutual information: I(clusters; labels) over the mean of both entropies (Strehl and Ghosh, "Cluster
  ensembles", JMLR 2002, with the arithmetic mean as in scikit-learn).
- Purity: share of pixels that have the commonest label of their cluster (Manning, Raghavan and Schütze, "Introduction
  to Information Retrieval", 2008, section 16.3). It grows with the number of clusters, so it is read beside k-means
  with as many.
- Matched mIoU: mean IoU over the classes after the one-to-one matching of clusters with classes that is best for it, as
  unsupervised segmentation is measured (Ji et al., IIC, ICCV 2019; Cho et al., PiCIE, CVPR 2021). A class that gets no
  cluster counts as 0.
- Used: clusters that are the strongest of some patch; the entropy of their use is over its maximum, log M.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Sequence

import numpy as np
from scipy.special import entr  # scipy.stats, which has the entropy too, takes a second to import


class Agreement:
    """Counts of pixels by cluster and label.

    Args:
        clusters: M.
        labels: K.
    """

    def __init__(self, clusters: int, labels: int) -> None:
        self.counts = np.zeros((clusters, labels), np.int64)

    def add(self, clusters: np.ndarray, labels: np.ndarray, ignored: int | None = None) -> None:
        """Count two maps of one shape; where the label is ``ignored`` nothing is counted."""
        known = np.ones(labels.shape, bool) if ignored is None else labels != ignored
        pairs = clusters[known].astype(np.int64) * self.counts.shape[1] + labels[known]
        self.counts += np.bincount(pairs, minlength=self.counts.size).reshape(self.counts.shape)

    def nmi(self) -> float:
        """Return the normalised mutual information, 0 to 1; 1 if both are constant."""
        if not self.counts.any():
            return 1.0
        from sklearn.metrics import mutual_info_score

        mean = (entropy(self.counts.sum(1)) + entropy(self.counts.sum(0))) / 2
        return float(mutual_info_score(None, None, contingency=self.counts) / mean) if mean > 0 else 1.0

    def purity(self) -> float:
        """Return the share of pixels, 0 to 1, that have the commonest label of their cluster; 1 of none."""
        return float(self.counts.max(1).sum() / self.counts.sum()) if self.counts.any() else 1.0

    def matched_iou(self) -> float:
        """Return the mean IoU, 0 to 1, of the classes that occur after the best one-to-one matching; 1 of none."""
        if not self.counts.any():
            return 1.0
        occurring = self.counts[:, self.counts.sum(0) > 0]
        from scipy.optimize import linear_sum_assignment

        union = occurring.sum(1, keepdims=True) + occurring.sum(0, keepdims=True) - occurring
        iou = occurring / union
        return float(iou[linear_sum_assignment(iou, maximize=True)].sum() / occurring.shape[1])

    def used(self) -> int:
        """Return how many clusters some pixel belongs to."""
        return int(np.count_nonzero(self.counts.sum(1)))

    def use_entropy(self) -> float:
        """Return the entropy of the clusters' use over log M: 0 if all is one cluster, 1 if all are used alike."""
        clusters = len(self.counts)
        return (
            float(entropy(self.counts.sum(1)) / np.log(clusters))
            if clusters > 1 and self.counts.any()
            else 0.0
        )

    def summary(self) -> dict[str, float | int]:
        """Return all of the above by name."""
        return {
            "nmi": self.nmi(),
            "purity": self.purity(),
            "matched_miou": self.matched_iou(),
            "used": self.used(),
            "use_entropy": self.use_entropy(),
        }


def entropy(shares: np.ndarray) -> np.ndarray:
    """Return the entropy in nats over the last axis of what is at least 0, and is scaled to a sum of 1."""
    return entr(shares / shares.sum(axis=-1, keepdims=True)).sum(axis=-1)


def spread(assignment: np.ndarray) -> float:
    """Return the mean entropy of clusters (M, H, W) over the patches, over log HW: 1 if all patches count alike."""
    flat = assignment.reshape(len(assignment), -1)
    if flat.shape[1] == 1:
        return 1.0
    return float(entropy(flat).mean() / np.log(flat.shape[1]))


def pack(clusters: np.ndarray) -> str:
    """Return a map of clusters as text, in the order of the patches; see :func:`unpack`."""
    return base64.b64encode(clusters.astype("<u2").tobytes()).decode()


def unpack(text: str) -> np.ndarray:
    """Return the clusters (N,) of :func:`pack`."""
    return np.frombuffer(base64.b64decode(text), "<u2")


def between_seeds(maps: Sequence[Sequence[str]]) -> float | None:
    """Return how alike seeds cluster the same images: mean normalised mutual information over pairs of seeds.

    Args:
        maps: for each seed the packed maps of the images, the same ones in the same order.

    Returns:
        0 to 1, whatever the clusters' numbers; None for one seed, or if they kept other images.
    """
    joined = [np.concatenate([unpack(text) for text in images]) for images in maps]
    if len({len(clusters) for clusters in joined}) > 1:
        return None
    if len(joined) == 1:
        return None
    from sklearn.metrics import normalized_mutual_info_score

    pairs = [normalized_mutual_info_score(a, b) for a, b in itertools.combinations(joined, 2)]
    return float(np.mean(pairs))
