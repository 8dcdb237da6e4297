"""PaCa-ViT (Patch-to-Cluster attention, CVPR 2023) reproduced end to end."""

from pacavit import mmcv_extension, yapf_cache

__version__ = "0.1.0"

# Here, so that whichever part of the package is imported, mmdetection and mmsegmentation can be after it.
mmcv_extension.install()
yapf_cache.install()
