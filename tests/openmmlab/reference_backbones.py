"""mmdetection's and mmsegmentation's own Swin and PVTv2: configurations, and weights under timm's names."""

import re

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from pacavit.openmmlab.models import scoped

#: Reference by the name that timm knows it under.
CONFIGS = {
    "swin_tiny_patch4_window7_224": {
        "type": "SwinTransformer",
        "depths": [2, 2, 6, 2],
        "num_heads": [3, 6, 12, 24],
    },
    "swin_small_patch4_window7_224": {
        "type": "SwinTransformer",
        "depths": [2, 2, 18, 2],
        "num_heads": [3, 6, 12, 24],
    },
    "pvt_v2_b0": {"type": "PyramidVisionTransformerV2", "embed_dims": 32, "num_layers": [2, 2, 2, 2]},
    "pvt_v2_b2": {"type": "PyramidVisionTransformerV2", "embed_dims": 64, "num_layers": [3, 4, 6, 3]},
}

#: Rules from a name of the reference to timm's, tried in order; ``{+}`` stands for the number plus 1.
_SWIN = [
    (r"^patch_embed\.projection\.", "patch_embed.proj."),
    (r"^stages\.(\d+)\.downsample\.", "layers.{+}.downsample."),
    (r"^stages\.(\d+)\.", r"layers.\1."),
    (r"\.attn\.w_msa\.", ".attn."),
    (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
    (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
]
_PVT = [
    (r"^layers\.0\.0\.", "patch_embed."),
    (r"^layers\.(\d+)\.0\.", r"stages.\1.downsample."),
    (r"^layers\.(\d+)\.1\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"^layers\.(\d+)\.2\.", r"stages.\1.norm."),
    (r"projection\.", "proj."),
    (r"\.attn\.attn\.out_proj\.", ".attn.proj."),
    (r"\.ffn\.layers\.0\.", ".mlp.fc1."),
    (r"\.ffn\.layers\.1\.", ".mlp.dwconv."),
    (r"\.ffn\.layers\.4\.", ".mlp.fc2."),
]


def reference(name: str, scope: str = "mmdet", **options) -> nn.Module:
    """Return the backbone of a library with random weights, biases and norms too."""
    with scoped(scope):
        built = MODELS.build(
            {**CONFIGS[name], "type": f"{scope}.{CONFIGS[name]['type']}", "drop_path_rate": 0.0, **options}
        )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, p in built.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            p.copy_(1 + 0.1 * noise if p.ndim == 1 and key.endswith("weight") else 0.05 * noise)
    built.eval()  # which returns nothing in Swin
    return built


def names_in_timm(key: str) -> list[str]:
    """Return the names of timm's parameters that hold a parameter of the reference."""
    for pattern, new in _SWIN if key.startswith(("stages.", "patch_embed.", "norm")) else _PVT:
        found = re.search(pattern, key)
        if found:
            new = new.replace("{+}", str(int(found[1]) + 1)) if "{+}" in new else new
            key = re.sub(pattern, new, key, count=1)
    if ".attn.attn.in_proj_" in key:
        return [key.replace("attn.attn.in_proj_", f"attn.{part}.") for part in ("q", "kv")]
    return [key]


def in_timm(built: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a reference under timm's names, in timm's layout."""
    converted = {}
    for key, value in built.state_dict().items():
        if key.endswith("relative_position_index"):
            continue  # is computed
        names = names_in_timm(key)
        if len(names) == 2:  # torch's attention has queries, keys and values in one
            third = len(value) // 3
            converted[names[0]], converted[names[1]] = value[:third], value[third:]
        elif ".downsample." in names[0] and names[0].startswith("layers."):
            converted[names[0]] = _merged(value)
        elif names[0].endswith(("fc1.weight", "fc2.weight")) and value.ndim == 4:  # a convolution of 1 × 1
            converted[names[0]] = value.flatten(1)
        else:
            converted[names[0]] = value
    return converted


def _merged(value: Tensor) -> Tensor:
    """Return weights over four merged patches in timm's order: by columns, and the channels of a patch together."""
    patches = value.unflatten(-1, (-1, 4))[..., [0, 2, 1, 3]]
    return patches.transpose(-1, -2).flatten(-2)
