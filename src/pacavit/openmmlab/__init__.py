"""mmdetection and mmsegmentation around the backbone; importing this installs the operator adapter."""

import warnings

from mmengine.logging import MMLogger

from pacavit.openmmlab import ops

ops.install()
# Without a logger of ours, mmengine makes one that prints every parameter it initialises.
MMLogger.get_instance("pacavit", log_level="ERROR")
# Warnings that nobody can act on: mmsegmentation builds its losses by a function that it has deprecated itself, and
# asks of each whether to count unlabelled pixels, which the recipes answer as published.
for _message in ("``build_loss`` would be deprecated soon", "Default ``avg_non_ignore`` is False"):
    warnings.filterwarnings("ignore", message=_message, module="mmseg")
