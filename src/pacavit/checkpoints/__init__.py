"""Files of weights: reading what others published, saying what fits, writing other forms."""

from pacavit.checkpoints.fit import Fit, load
from pacavit.checkpoints.reader import Checkpoint, backbone_weights, read, unwrap

__all__ = ["Checkpoint", "Fit", "backbone_weights", "load", "read", "unwrap"]
