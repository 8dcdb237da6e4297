"""mmdetection and mmsegmentation around the backbone; importing this installs the operator adapter."""

import warnings

from mmengine.logging import MMLogger

from pacavit.openmmlab import ops

ops.install()
# Without a logger of ours, mmengine makes one that prints every parameter it initialises.
MMLogger.get_instance("pacavit", log_level="ERROR")
# mmsegmentation builds its own losses by a function that it has deprecated itself.
warnings.filterwarnings("ignore", message="``build_loss`` would be deprecated soon")
