"""PaCa-ViT (Patch-to-Cluster attention, CVPR 2023) reproduced end to end."""

__version__ = "0.1.0"
