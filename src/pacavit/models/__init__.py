"""PaCa-ViT in pure torch and timm; importing this registers the variants with timm."""

from pacavit.models.paca_vit import PaCaViT, checkpoint_filter_fn, variant_config, variant_names

__all__ = ["PaCaViT", "checkpoint_filter_fn", "variant_config", "variant_names"]
