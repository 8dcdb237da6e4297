"""Reading files of weights, and comparing them with a model."""

from pacavit.weights.fit import Fit, load, not_finite, require_finite
from pacavit.weights.reader import Checkpoint, backbone_weights, read, unwrap

__all__ = ["Checkpoint", "Fit", "backbone_weights", "load", "not_finite", "read", "require_finite", "unwrap"]
