"""mmdetection and mmsegmentation around the backbone."""

import warnings

from mmengine.logging import MMLogger

import pacavit.openmmlab.ops  # noqa: F401, what mmcv finds as its operators: the code of all dense stages

# Without a logger of ours, mmengine makes one that prints every parameter it initialises.
MMLogger.get_instance("pacavit", log_level="ERROR")
# Warnings that nobody can act on: mmsegmentation builds its losses by a function that it has deprecated itself, and
# asks of each whether to count unlabelled pixels, which the recipes answer as published.
for _message in ("``build_loss`` would be deprecated soon", "Default ``avg_non_ignore`` is False"):
    warnings.filterwarnings("ignore", message=_message, module="mmseg")
