"""PaCa-ViT: a four-stage vision transformer whose patches attend to a few learned clusters of patches.

Paper: Grainger et al., "PaCa-ViT: Learning Patch-to-Cluster Attention in Vision Transformers", CVPR 2023.
Names of modules, and so the keys of a state dict, are those of the published checkpoints.

Shapes: B images, C channels, N = H × W patches, M clusters, h heads. Tokens are (B, N, C) in memory order, so
that their map view (B, C, H, W) is channels-last and going from one to the other copies nothing.
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import DropPath, calculate_drop_path_rates, get_device_dtype, trunc_normal_, use_fused_attn
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from timm.models._manipulate import checkpoint
from torch import Tensor, nn
from torch._C import _len_torch_dispatch_stack, _len_torch_function_stack
from torch.nn import functional as F
from torch.nn.modules.module import _has_any_global_hook

from pacavit.errors import PacavitError
from pacavit.weights.reader import backbone_weights, unwrap

# Annotations are no strings here: torch.fx writes them into the code that TorchScript then compiles.

__all__ = ["PaCaViT", "checkpoint_filter_fn", "variant_config", "variant_names"]

NORM_EPS = 1e-6
#: Bytes of the largest block that glibc's allocator keeps; a larger one is mapped, and zeroed by the kernel, each time.
_KEPT_BLOCK = 32 * 2**20


def to_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """View tokens (B, N, C) as a map (B, C, H, W), N = H × W; channels-last in memory."""
    # Split before the axes move: for one image torch would not see the memory order otherwise, and copy.
    # Not unflatten: torch's exporter by tracing takes the sizes it makes for constants.
    batch, _, channels = tokens.shape
    return tokens.reshape(batch, size[0], size[1], channels).permute(0, 3, 1, 2)


def to_tokens(maps: Tensor) -> Tensor:
    """View a channels-last map (B, C, H, W) as tokens (B, N, C); any other memory order is copied."""
    return maps.flatten(2).transpose(1, 2).contiguous()


def _channels_last(maps: Tensor) -> Tensor:
    # torch.vmap knows no contiguous(memory_format=torch.channels_last).
    return maps.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


class PatchEmbed(nn.Module):
    """Convolutions of stride 2, then a layer norm over channels: (B, C_in, H, W) to tokens (B, N, C_out).

    The stem has two of them with nothing between; a transition has one. An odd grid rounds up.
    """

    def __init__(self, proj: nn.Module, dim: int, device=None, dtype=None) -> None:
        super().__init__()
        self.proj = proj
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        # Images come in another memory order, and convolutions keep to that of their input.
        x = self.proj(_channels_last(x))
        return self.norm(to_tokens(x)), (x.shape[2], x.shape[3])


def _halving(in_chans: int, out_chans: int, device=None, dtype=None) -> nn.Conv2d:
    return nn.Conv2d(in_chans, out_chans, kernel_size=3, stride=2, padding=1, device=device, dtype=dtype)


class DepthWiseConv(nn.Module):
    """A depth-wise 3×3 convolution over the grid whose input is added to its output."""

    def __init__(self, dim: int, device=None, dtype=None) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, kernel_size=3, padding=1, groups=dim, device=device, dtype=dtype)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = to_map(x, size)
        return to_tokens(x + self.dwconv(x))


class Mlp(nn.Module):
    """Feed-forward network with a depth-wise convolution before its GELU.

    On a CPU, a large batch runs image by image: its hidden tensors then fit the allocator's pool and the caches. The
    whole batch runs at once if anything could tell the difference, such as a hook on a layer or a mode that intercepts
    operators.
    """

    def __init__(self, dim: int, hidden_dim: int, drop: float = 0.0, device=None, dtype=None) -> None:
        super().__init__()
        dd = {"device": device, "dtype": dtype}
        self.hidden_dim = hidden_dim
        self.fc1 = nn.Linear(dim, hidden_dim, **dd)
        self.dwconv = DepthWiseConv(hidden_dim, **dd)
        self.act = nn.GELU()
        self.drop = nn.Dropout(drop)
        self.fc2 = nn.Linear(hidden_dim, dim, **dd)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        if not torch.jit.is_scripting() and self._runs_by_image(x):
            return torch.cat([self._run(image, size) for image in x.split(1)])
        return self._run(x, size)

    def _run(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = self.drop(self.act(self.dwconv(self.fc1(x), size)))
        return self.drop(self.fc2(x))

    @torch.jit.unused
    def _runs_by_image(self, x: Tensor) -> bool:
        """Return whether the hidden tensors are large and nothing observes the layers."""
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or type(x) is not Tensor or not x.is_cpu:
            return False
        hidden = x.shape[0] * x.shape[1] * self.hidden_dim * x.element_size()
        return x.shape[0] > 1 and hidden > _KEPT_BLOCK and not self._is_observed()

    def _is_observed(self) -> bool:
        # A caller's own layer, or a weight of a subclass of Tensor, may depend on the whole batch, and modes intercept
        # every operator. Dropout would draw its random numbers in another order.
        known = (nn.Linear, nn.Conv2d, nn.GELU, nn.Dropout, DepthWiseConv)
        hooks = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
        if _has_any_global_hook() or _len_torch_function_stack() or _len_torch_dispatch_stack():
            return True
        return any(
            type(layer) not in known
            or "forward" in vars(layer)
            or any(type(weight) not in (Tensor, nn.Parameter) for weight in layer.parameters(recurse=False))
            or any(getattr(layer, hook) for hook in hooks)
            or (isinstance(layer, nn.Dropout) and layer.training and layer.p > 0)
            for layer in list(self.modules())[1:]
        )


class ConvClustering(nn.Module):
    """Cluster logits (B, M, N) from tokens by a depth-wise convolution and two 1×1 convolutions."""

    def __init__(self, dim: int, num_clusters: int, kernel_size: int = 7, device=None, dtype=None) -> None:
        super().__init__()
        dd = {"device": device, "dtype": dtype}
        self.clustering = nn.Sequential(
            nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim, **dd),
            nn.GELU(),
            nn.Conv2d(dim, dim, kernel_size=1, **dd),
            nn.GELU(),
            nn.Conv2d(dim, num_clusters, kernel_size=1, bias=False, **dd),
        )

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return self.clustering(to_map(x, size)).flatten(2)


class TokenClustering(nn.Module):
    """Cluster logits (B, M, N) from each token by itself, through a linear layer or an MLP."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.clustering = nn.Sequential(*layers)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return self.clustering(x).transpose(1, 2)


def create_clustering(
    kind: str, dim: int, num_clusters: int, kernel_size: int = 7, device=None, dtype=None
) -> nn.Module:
    """Return the clustering module of a kind: ``conv``, ``mlp`` or ``linear``.

    Raises:
        ValueError: another kind.
    """
    dd = {"device": device, "dtype": dtype}
    if kind == "conv":
        return ConvClustering(dim, num_clusters, kernel_size, **dd)
    if kind == "mlp":
        return TokenClustering(
            nn.Linear(dim, 4 * dim, **dd), nn.GELU(), nn.Linear(4 * dim, num_clusters, **dd)
        )
    if kind == "linear":
        return TokenClustering(nn.Linear(dim, num_clusters, bias=False, **dd))
    raise ValueError(f"clustering={kind!r}: expected 'conv', 'mlp' or 'linear'")


class PatchToClusterAttention(nn.Module):
    """Multi-head attention of N patches to M clusters of them.

    Each cluster is a convex combination of the patches: the assignment, (B, M, N), is a softmax over the patches.
    Without clusters (M = 0) the patches attend to each other.

    Args:
        dim: channels C.
        num_heads: heads, which divide C.
        num_clusters: M.
        clustering: module that gives cluster logits; without one the caller hands in the assignment.

    Raises:
        ValueError: the heads do not divide C; at call, no assignment where one has to be handed in.
    """

    fused_attn: torch.jit.Final[bool]

    def __init__(
        self,
        dim: int,
        num_heads: int,
        num_clusters: int,
        clustering: nn.Module | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__()
        dd = {"device": device, "dtype": dtype}
        if dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide {dim} channels")
        self.num_heads = num_heads
        self.num_clusters = num_clusters
        self.fused_attn = use_fused_attn()
        self.cluster_norm = nn.LayerNorm(dim, eps=NORM_EPS, **dd) if num_clusters > 0 else None
        self.clustering = clustering
        self.q = nn.Linear(dim, dim, **dd)
        self.k = nn.Linear(dim, dim, **dd)
        self.v = nn.Linear(dim, dim, **dd)
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = nn.Linear(dim, dim, **dd)
        self.proj_drop = nn.Dropout(proj_drop)

    def assign(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the assignment (B, M, N) of tokens (B, N, C); every row sums to one over the patches."""
        return self.clustering(x, size).softmax(dim=-1)

    def forward(
        self, x: Tensor, size: tuple[int, int], assignment: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Attend; also return the assignment in use, for the later blocks of the stage."""
        if self.clustering is not None:
            assignment = self.assign(x, size)
        clusters = self._gather(x, assignment)
        q, k, v = self._heads(self.q(x)), self._heads(self.k(clusters)), self._heads(self.v(clusters))
        if self.fused_attn:
            x = F.scaled_dot_product_attention(q, k, v, dropout_p=self.attn_drop.p if self.training else 0.0)
        else:
            x = self.attn_drop(_attention_weights(q, k)) @ v
        return self.proj_drop(self.proj(x.transpose(1, 2).flatten(2))), assignment

    @torch.jit.ignore
    def weights(self, x: Tensor, assignment: Tensor | None) -> Tensor:
        """Return what :meth:`forward` attends with: (B, h, N, M) weights that sum to one over the clusters.

        Over the N patches themselves without clusters. Takes what ``forward`` was given, and its assignment.
        """
        q, k = self._heads(self.q(x)), self._heads(self.k(self._gather(x, assignment)))
        return _attention_weights(q, k)

    def _gather(self, x: Tensor, assignment: Tensor | None) -> Tensor:
        """Return what patches attend to: the normed clusters (B, M, C), or the patches themselves."""
        if self.cluster_norm is None:
            return x
        if assignment is None:
            raise ValueError("no clustering module: hand in the assignment (B, M, N)")
        return self.cluster_norm(assignment @ x)

    def _heads(self, x: Tensor) -> Tensor:
        # The last size is written out: torch infers none for an empty batch.
        return x.reshape(x.shape[0], x.shape[1], self.num_heads, x.shape[2] // self.num_heads).transpose(1, 2)


def _attention_weights(q: Tensor, k: Tensor) -> Tensor:
    return (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(dim=-1)


class Block(nn.Module):
    """Pre-norm transformer block: patch-to-cluster attention, then the feed-forward network."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float,
        num_clusters: int,
        clustering: nn.Module | None = None,
        drop_path: float = 0.0,
        proj_drop: float = 0.0,
        attn_drop: float = 0.0,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__()
        dd = {"device": device, "dtype": dtype}
        self.norm1_before = nn.LayerNorm(dim, eps=NORM_EPS, **dd)
        self.attn = PatchToClusterAttention(
            dim, num_heads, num_clusters, clustering, attn_drop, proj_drop, **dd
        )
        self.drop_path1 = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.norm2_before = nn.LayerNorm(dim, eps=NORM_EPS, **dd)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), proj_drop, **dd)
        self.drop_path2 = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(
        self, x: Tensor, size: tuple[int, int], assignment: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        attended, assignment = self.attn(self.norm1_before(x), size, assignment)
        x = x + self.drop_path1(attended)
        x = x + self.drop_path2(self.mlp(self.norm2_before(x), size))
        return x, assignment


class Stage(nn.ModuleList):
    """Blocks on one grid, each of which takes over the assignment of the one before or makes its own."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__(blocks)
        self.grad_checkpointing = False

    def forward(
        self, x: Tensor, size: tuple[int, int], assignment: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return tokens (B, N, C) of tokens, and the assignment in use in the first block."""
        first = assignment
        for i, block in enumerate(self):
            if self.grad_checkpointing and not torch.jit.is_scripting():
                x, assignment = checkpoint(block, x, size, assignment)
            else:
                x, assignment = block(x, size, assignment)
            if i == 0:
                first = assignment
        return x, first


class StageNorm(nn.LayerNorm):
    """The layer norm that ends a stage: from tokens (B, N, C) to the map (B, C, H, W) that others see."""

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return to_map(F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps), size)


class Residual(nn.Module):
    """Adds the input of ``fn`` to its output."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fn(x)


class BlurConv2d(nn.Module):
    """A strided 3×3 convolution of a low-passed map, so that halving the grid does not alias."""

    def __init__(self, in_chans: int, out_chans: int, device=None, dtype=None) -> None:
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0], device=device, dtype=dtype) / 4
        self.register_buffer("blur_filter", torch.outer(row, row).repeat(in_chans, 1, 1, 1))
        self.conv = _halving(in_chans, out_chans, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.conv2d(x, self.blur_filter, padding=1, groups=self.conv.in_channels))


def _mixer(dim: int, kernel_size: int, device=None, dtype=None) -> list[nn.Module]:
    dd = {"device": device, "dtype": dtype}
    spatial = nn.Conv2d(dim, dim, kernel_size, padding="same", groups=dim, **dd)
    return [
        Residual(nn.Sequential(spatial, nn.GELU(), nn.BatchNorm2d(dim, **dd))),
        nn.Conv2d(dim, dim, kernel_size=1, **dd),
        nn.GELU(),
        nn.BatchNorm2d(dim, **dd),
    ]


def _resized(coarse: Tensor, fine: Tensor) -> Tensor:
    return F.interpolate(coarse, size=fine.shape[2:], mode="bilinear", align_corners=False)


def _assignment(logits: Tensor) -> Tensor:
    return logits.flatten(2).softmax(dim=-1)


class ConvMixerTeacher(nn.Module):
    """A light ConvMixer pyramid that gives the cluster assignment of every stage with clusters.

    Bottom-up blocks, then a top-down path that adds each coarser map to the finer one. Trained jointly. The top-down
    path ends at the finest stage with clusters, since no layer may be without a gradient in data-parallel training.
    """

    def __init__(
        self,
        dims: Sequence[int],
        depths: Sequence[int],
        num_clusters: Sequence[int],
        kernel_size: int = 7,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__()
        dd = {"device": device, "dtype": dtype}
        last = len(dims)
        self.num_clusters = tuple(num_clusters)
        for i, (dim, depth) in enumerate(zip(dims, depths, strict=True), start=1):
            units = [nn.Sequential(*_mixer(dim, kernel_size, **dd)) for _ in range(depth)]
            self.add_module(f"block{i}", nn.Sequential(*units))
            if i < last:
                coarser = dims[i]
                transition = (BlurConv2d(dim, coarser, **dd), nn.GELU(), nn.BatchNorm2d(coarser, **dd))
                lateral = (nn.Conv2d(coarser, dim, kernel_size=1, **dd), nn.GELU(), nn.BatchNorm2d(dim, **dd))
                self.add_module(f"transition{i}", nn.Sequential(*transition))
                self.add_module(f"lateral{i}", nn.Sequential(*lateral))
                self.add_module(f"fpn{i}", nn.Sequential(*_mixer(dim, kernel_size, **dd)))
            clusters = num_clusters[i - 1]
            to_clusters = nn.Conv2d(dim, clusters, kernel_size=1, **dd) if clusters > 0 else None
            setattr(self, f"to_clusters{i}", to_clusters)
        self.prune(last)

    @torch.jit.ignore
    def prune(self, num_stages: int) -> None:
        """Drop the layers that reach neither an assignment nor a feature of the first ``num_stages`` stages."""
        with_clusters = [i for i, m in enumerate(self.num_clusters[:num_stages], start=1) if m > 0]
        finest = min(with_clusters, default=len(self.num_clusters))
        for i in range(1, len(self.num_clusters) + 1):
            if i > num_stages:
                setattr(self, f"to_clusters{i}", None)
            if i > num_stages and not with_clusters:
                setattr(self, f"block{i}", None)
                setattr(self, f"transition{i - 1}", None)
            if i < finest and i < len(self.num_clusters):
                setattr(self, f"lateral{i}", None)
                setattr(self, f"fpn{i}", None)

    def forward(self, x: Tensor) -> tuple[list[Tensor | None], list[Tensor | None]]:
        """Return assignments (B, M, N) and bottom-up maps (B, C, H, W) of each stage, from the stem's map."""
        # Spelled out stage by stage, since TorchScript looks up no module by a name made at run time. What no
        # assignment needs is None.
        assignments: list[Tensor | None] = [None, None, None, None]
        features: list[Tensor | None] = [None, None, None, None]
        up1 = self.block1(x)
        features[0] = up1
        if self.block2 is None:
            return assignments, features
        up2 = self.block2(self.transition1(up1))
        features[1] = up2
        if self.block3 is None:
            return assignments, features
        up3 = self.block3(self.transition2(up2))
        features[2] = up3
        if self.block4 is None:
            return assignments, features
        up4 = self.block4(self.transition3(up3))
        features[3] = up4
        if self.to_clusters4 is not None:
            assignments[3] = _assignment(self.to_clusters4(up4))
        if self.fpn3 is None:
            return assignments, features
        down3 = self.fpn3(up3 + self.lateral3(_resized(up4, up3)))
        if self.to_clusters3 is not None:
            assignments[2] = _assignment(self.to_clusters3(down3))
        if self.fpn2 is None:
            return assignments, features
        down2 = self.fpn2(up2 + self.lateral2(_resized(down3, up2)))
        if self.to_clusters2 is not None:
            assignments[1] = _assignment(self.to_clusters2(down2))
        if self.fpn1 is None:
            return assignments, features
        down1 = self.fpn1(up1 + self.lateral1(_resized(down2, up1)))
        if self.to_clusters1 is not None:
            assignments[0] = _assignment(self.to_clusters1(down1))
        return assignments, features


class PaCaViT(nn.Module):
    """The PaCa-ViT backbone with its classifier.

    Any image size of at least 32 × 32 works; there is no position embedding.

    Args:
        in_chans: channels of the image.
        num_classes: classes of the head; 0 for none.
        global_pool: ``avg``, or an empty string for none.
        embed_dims, depths, num_heads, mlp_ratios: one value for each of the four stages.
        num_clusters: M of each stage; 0 is plain attention between patches.
        clustering: ``conv``, ``mlp`` or ``linear``; unused with a teacher.
        clustering_mode: ``stage`` computes the assignment in a stage's first block and reuses it in the later ones,
            ``block`` computes one in every block; unused with a teacher.
        clustering_kernel_size: of the depth-wise convolutions that cluster.
        teacher_depths: depths of the ConvMixer clustering teacher; none without one.
        drop_rate: dropout before the classifier.
        proj_drop_rate, attn_drop_rate: dropout in the blocks.
        drop_path_rate: stochastic depth of the last block, growing linearly over all blocks from 0.
        img_size: accepted, as timm's callers pass it, and without effect.
        device, dtype: of the parameters and buffers.

    Raises:
        ValueError: a value out of its range, or sequences of other lengths than four.
    """

    def __init__(
        self,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: Literal["avg", ""] = "avg",
        embed_dims: Sequence[int] = (96, 192, 320, 384),
        depths: Sequence[int] = (2, 2, 4, 2),
        num_heads: Sequence[int] = (2, 4, 8, 16),
        mlp_ratios: Sequence[float] = (4.0, 4.0, 4.0, 4.0),
        num_clusters: Sequence[int] = (100, 100, 100, 0),
        clustering: Literal["conv", "mlp", "linear"] = "conv",
        clustering_mode: Literal["stage", "block"] = "stage",
        clustering_kernel_size: int = 7,
        teacher_depths: Sequence[int] | None = None,
        drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        img_size: int | tuple[int, int] | None = None,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__()
        dd = {"device": device, "dtype": dtype}
        per_stage = [embed_dims, depths, num_heads, mlp_ratios, num_clusters]
        if teacher_depths is not None:
            per_stage.append(teacher_depths)
        if any(len(values) != 4 for values in per_stage):
            raise ValueError(
                "embed_dims, depths, num_heads, mlp_ratios, num_clusters and teacher_depths take one value a stage: 4"
            )
        if min(num_clusters) < 0:
            raise ValueError(
                f"num_clusters={tuple(num_clusters)}: expected at least 0, which is plain attention"
            )
        if clustering_mode not in ("stage", "block"):
            raise ValueError(f"clustering_mode={clustering_mode!r}: expected 'stage' or 'block'")
        self.in_chans = in_chans
        self.num_classes = num_classes
        self.global_pool = _checked_pool(global_pool)
        self.num_stages = len(depths)
        self.num_clusters = tuple(num_clusters)
        self.num_features = self.head_hidden_size = embed_dims[-1]
        self.feature_info = [
            {"num_chs": dim, "reduction": 4 * 2**i, "module": f"norm{i + 1}"}
            for i, dim in enumerate(embed_dims)
        ]

        stem = nn.Sequential(
            _halving(in_chans, embed_dims[0] // 2, **dd), _halving(embed_dims[0] // 2, embed_dims[0], **dd)
        )
        self.patch_embed = PatchEmbed(stem, embed_dims[0], **dd)
        self.paca_teacher = None
        if teacher_depths is not None:
            self.paca_teacher = ConvMixerTeacher(
                embed_dims, teacher_depths, num_clusters, clustering_kernel_size, **dd
            )

        drop_paths = calculate_drop_path_rates(drop_path_rate, list(depths), stagewise=True)
        for i, (dim, depth, clusters) in enumerate(zip(embed_dims, depths, num_clusters, strict=True)):
            if i > 0:
                proj = _halving(embed_dims[i - 1], dim, **dd)
                self.add_module(f"transition{i}", PatchEmbed(proj, dim, **dd))
            blocks = []
            for j in range(depth):
                own = clusters > 0 and teacher_depths is None and (j == 0 or clustering_mode == "block")
                module = None
                if own:
                    module = create_clustering(clustering, dim, clusters, clustering_kernel_size, **dd)
                blocks.append(
                    Block(
                        dim,
                        num_heads[i],
                        mlp_ratios[i],
                        clusters,
                        module,
                        drop_path=drop_paths[i][j],
                        proj_drop=proj_drop_rate,
                        attn_drop=attn_drop_rate,
                        **dd,
                    )
                )
            self.add_module(f"stage{i + 1}", Stage(blocks))
            self.add_module(f"norm{i + 1}", StageNorm(dim, eps=NORM_EPS, **dd))

        self.head_drop = nn.Dropout(drop_rate)
        self.head = nn.Linear(embed_dims[-1], num_classes, **dd) if num_classes > 0 else nn.Identity()
        self.apply(init_parameters)

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Return names that weight decay skips beyond vectors: none."""
        return set()

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return patterns that group parameters by depth, for layer-wise learning rates."""
        if coarse:
            blocks: Any = [(r"^(?:stage|transition|norm)(\d+)", None)]
        else:
            # A stage's blocks, then the transition out of it, which its norm leads into.
            blocks = [
                (r"^stage(\d+)\.(\d+)", None),
                (r"^transition(\d+)", (99998,)),
                (r"^norm(\d+)", (99999,)),
            ]
        return {"stem": r"^patch_embed|^paca_teacher", "blocks": blocks}

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass instead of keeping its activations.

        The teacher's are kept: run twice, its batch norms would count each batch twice.
        """
        for module in self.modules():
            if isinstance(module, Stage):
                module.grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        """Return the classifier."""
        return self.head

    @torch.jit.ignore
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier, and the pooling if one is given; 0 classes leave none."""
        dd = get_device_dtype(self)
        self.num_classes = num_classes
        if global_pool is not None:
            self.global_pool = _checked_pool(global_pool)
        self.head = nn.Linear(self.num_features, num_classes, **dd) if num_classes > 0 else nn.Identity()
        init_parameters(self.head)
        self.head.train(self.training)

    def forward_stages(self, x: Tensor, last: int = 3) -> tuple[list[Tensor], list[Tensor | None]]:
        """Run the stages up to index ``last`` on images (B, C_in, H, W).

        Returns:
            For each stage its normed map (B, C, H, W), and the assignment (B, M, N) of its first block, or None
            where M = 0.
        """
        x, size = self.patch_embed(x)
        taught: list[Tensor | None] = [None, None, None, None]
        features: list[Tensor | None] = [None, None, None, None]
        if self.paca_teacher is not None:
            taught, features = self.paca_teacher(to_map(x, size))

        # Spelled out as in the teacher; pruning leaves None of the later stages.
        x, first = self.stage1(x, size, taught[0])
        maps = [self.norm1(_added(x, features[0]), size)]
        assignments = [first]
        if self.stage2 is not None and last > 0:
            x, size = self.transition1(maps[-1])
            x, first = self.stage2(x, size, taught[1])
            maps.append(self.norm2(_added(x, features[1]), size))
            assignments.append(first)
        if self.stage3 is not None and last > 1:
            x, size = self.transition2(maps[-1])
            x, first = self.stage3(x, size, taught[2])
            maps.append(self.norm3(_added(x, features[2]), size))
            assignments.append(first)
        if self.stage4 is not None and last > 2:
            x, size = self.transition3(maps[-1])
            x, first = self.stage4(x, size, taught[3])
            maps.append(self.norm4(_added(x, features[3]), size))
            assignments.append(first)
        return maps, assignments

    @torch.jit.ignore
    def cluster_outputs(self) -> list[str]:
        """Return the names of the layers whose size is the number of clusters, which a dense task starts anew."""
        names = [
            f"{name}.clustering.{len(m.clustering) - 1}" for name, m in self.named_modules() if _clusters(m)
        ]
        return names + [
            name for name, _ in self.named_modules() if name.startswith("paca_teacher.to_clusters")
        ]

    @torch.jit.ignore
    def assignments(self, x: Tensor) -> list[Tensor | None]:
        """Return each stage's assignment as maps (B, M, H, W) that sum to one over the patches.

        None stands for a stage without clusters. In block-wise mode it is the first block's.
        """
        maps, assignments = self.forward_stages(x)
        return [
            None if z is None else z.unflatten(2, m.shape[2:]) for m, z in zip(maps, assignments, strict=True)
        ]

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return stage outputs, normed as they are for the next stage whatever ``norm`` says.

        Args:
            x: images (B, C_in, H, W).
            indices: stages to take: the last n if an int, all if None.
            norm: without effect, see above.
            stop_early: do not run stages after the last one taken.
            output_fmt: ``NCHW`` maps or ``NLC`` tokens.
            intermediates_only: leave out the final features.

        Returns:
            The map of the last stage that ran, and the taken ones in the order of the stages; or these alone.

        Raises:
            ValueError: another ``output_fmt``.
        """
        if output_fmt not in ("NCHW", "NLC"):
            raise ValueError(f"output_fmt='{output_fmt}': expected 'NCHW' or 'NLC'")
        take, last = feature_take_indices(self.num_stages, indices)
        maps, _ = self.forward_stages(x, last if stop_early else self.num_stages - 1)
        intermediates: list[Tensor] = []
        for i, m in enumerate(maps):  # TorchScript knows no condition in a comprehension
            if i in take:
                intermediates.append(m if output_fmt == "NCHW" else to_tokens(m))
        if intermediates_only:
            return intermediates
        return maps[-1], intermediates

    @torch.jit.ignore
    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the stages after the last one that ``indices`` names, and the classifier with its pooling.

        Stage outputs are normed, so ``prune_norm`` has no effect. A head of a pruned stage goes in any case.

        Returns:
            The indices of the stages to take, counted from the first.
        """
        take, last = feature_take_indices(self.num_stages, indices)
        pruned = last + 1 < self.num_stages
        for i in range(last + 1, self.num_stages):
            for name in (f"transition{i}", f"stage{i + 1}", f"norm{i + 1}"):
                setattr(self, name, None)
        if self.paca_teacher is not None:
            self.paca_teacher.prune(last + 1)
        self.num_stages = last + 1
        self.num_features = self.head_hidden_size = self.feature_info[last]["num_chs"]
        if prune_head or pruned:
            self.reset_classifier(0, "")
        return take

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last stage's normed map (B, C, H / 32, W / 32) of images (B, C_in, H, W)."""
        maps, _ = self.forward_stages(x)
        return maps[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (B, classes) of the last map, or the pooled features (B, C) before them."""
        if self.global_pool:
            x = x.mean(dim=(2, 3))
        x = self.head_drop(x)
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, classes) of images (B, C_in, H, W)."""
        return self.forward_head(self.forward_features(x))


def _added(tokens: Tensor, feature: Tensor | None) -> Tensor:
    return tokens if feature is None else tokens + to_tokens(feature)


def _checked_pool(global_pool: str) -> str:
    if global_pool not in ("avg", ""):
        raise ValueError(f"global_pool={global_pool!r}: expected 'avg' or ''")
    return global_pool


def _clusters(module: nn.Module) -> bool:
    return isinstance(module, (ConvClustering, TokenClustering))


def init_parameters(module: nn.Module) -> None:
    """Initialise a layer as the published code: truncated normal linears, fan-out normal convolutions, plain norms.

    Running statistics of a batch norm stay as they are.
    """
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
    elif isinstance(module, (nn.LayerNorm, nn.BatchNorm2d)):
        nn.init.ones_(module.weight)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def checkpoint_filter_fn(state_dict: dict[str, Any], model: nn.Module | None = None) -> dict[str, Tensor]:
    """Return the backbone's weights of a checkpoint as published, under the keys of :class:`PaCaViT`.

    Unwraps the usual containers and strips the prefixes of data-parallel training and of dense models.
    """
    return backbone_weights(unwrap(state_dict).weights)


class _Variant(NamedTuple):
    description: str
    kwargs: dict[str, Any]
    cfg: dict[str, Any]


_SIZES: dict[str, dict[str, Any]] = {
    "test": {"embed_dims": (32, 64, 96, 128), "depths": (1, 2, 2, 1), "num_heads": (1, 2, 3, 4)},
    "tiny": {"embed_dims": (96, 192, 320, 384), "depths": (2, 2, 4, 2)},
    "small": {"embed_dims": (96, 192, 320, 384), "depths": (3, 3, 10, 3)},
    "base": {"embed_dims": (96, 192, 384, 512), "depths": (3, 3, 18, 3)},
}
# The teacher takes the place of some blocks.
_SIZES |= {
    "tiny+teacher": {**_SIZES["tiny"], "depths": (2, 2, 2, 2), "teacher_depths": (2, 2, 2, 2)},
    "small+teacher": {**_SIZES["small"], "depths": (3, 3, 7, 3), "teacher_depths": (2, 2, 2, 2)},
    "base+teacher": {**_SIZES["base"], "depths": (3, 3, 16, 3), "teacher_depths": (2, 2, 4, 2)},
}
_NUM_CLUSTERS: dict[str, tuple[int, int, int, int]] = {
    "2_0": (2, 2, 2, 0),
    "16_0": (16, 16, 16, 0),
    "49_0": (49, 49, 49, 0),
    "100_0": (100, 100, 100, 0),
    "49_100": (49, 64, 81, 100),
    "100_49": (100, 81, 64, 49),
    "100": (100, 100, 100, 100),
}
_CLUSTERINGS: dict[str, dict[str, Any]] = {
    "conv": {},
    "mlp": {"clustering": "mlp"},
    "block": {"clustering_mode": "block"},
}
_CFGS: dict[str, dict[str, Any]] = {"test": {"input_size": (3, 64, 64), "pool_size": (2, 2)}}


def _variant(description: str, size: str, clusters: str, clustering: str = "conv") -> _Variant:
    kwargs = {**_SIZES[size], "num_clusters": _NUM_CLUSTERS[clusters], **_CLUSTERINGS[clustering]}
    return _Variant(description, kwargs, _CFGS.get(size, {}))


# One entry makes a variant: its registration, its entry point and its default configuration follow from it.
_VARIANTS: dict[str, _Variant] = {
    "test_pacavit": _variant("Miniature for tests and for the whole pipeline on digits.", "test", "16_0"),
    "pacavit_tiny_p2cconv_100_0": _variant("PaCa-Tiny, convolutional clustering.", "tiny", "100_0"),
    "pacavit_small_p2cconv_100_0": _variant("PaCa-Small, convolutional clustering.", "small", "100_0"),
    "pacavit_base_p2cconv_100_0": _variant("PaCa-Base, convolutional clustering.", "base", "100_0"),
    "pacavit_small_p2cmlp_100_0": _variant("PaCa-Small, MLP clustering.", "small", "100_0", "mlp"),
    "pacavit_small_p2cconv_2_0": _variant("Ablation: 2 clusters.", "small", "2_0"),
    "pacavit_small_p2cconv_49_0": _variant("Ablation: 49 clusters.", "small", "49_0"),
    "pacavit_small_p2cconv_49_100": _variant("Ablation: clusters growing from 49 to 100.", "small", "49_100"),
    "pacavit_small_p2cconv_100_49": _variant("Ablation: clusters falling from 100 to 49.", "small", "100_49"),
    "pacavit_small_p2cconv_100": _variant("Ablation: clusters in all four stages.", "small", "100"),
    "pacavit_small_p2cconv_100_blockwise": _variant("Ablation: clusters by block.", "small", "100", "block"),
    "pacavit_convmixer_tiny_100": _variant("PaCa-Tiny, clustering teacher.", "tiny+teacher", "100"),
    "pacavit_convmixer_small_100": _variant("PaCa-Small, clustering teacher.", "small+teacher", "100"),
    "pacavit_convmixer_base_100": _variant("PaCa-Base, clustering teacher.", "base+teacher", "100"),
}


def variant_names() -> tuple[str, ...]:
    """Return the names of the registered variants."""
    return tuple(_VARIANTS)


def variant_config(name: str) -> dict[str, Any]:
    """Return the constructor's keywords of a registered variant, a new dictionary at each call.

    Raises:
        PacavitError: no such variant.
    """
    if name not in _VARIANTS:
        near = get_close_matches(name, _VARIANTS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(_VARIANTS)}"
        raise PacavitError(f"variant {name!r}: not a registered model; {hint}")
    return deepcopy(_VARIANTS[name].kwargs)


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "patch_embed.proj.0",
        "classifier": "head",
        "fixed_input_size": False,
        "license": "mit",
        "paper_name": "PaCa-ViT: Learning Patch-to-Cluster Attention in Vision Transformers",
        "paper_ids": "arXiv:2203.11987",
        "origin_url": "https://github.com/iVMCL/PaCaViT",
        **kwargs,
    }


default_cfgs = generate_default_cfgs(
    {f"{name}.untrained": _cfg(description=v.description, **v.cfg) for name, v in _VARIANTS.items()}
)


def _create(variant: str, pretrained: bool = False, **kwargs: Any) -> PaCaViT:
    return build_model_with_cfg(
        PaCaViT,
        variant,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": kwargs.pop("out_indices", (0, 1, 2, 3)), "feature_cls": "getter"},
        **{**variant_config(variant), **kwargs},
    )


def _register(name: str, description: str) -> None:
    """Make the entry point of a variant, as timm's ``register_model`` takes it: a function of that name."""

    def create(pretrained: bool = False, **kwargs: Any) -> PaCaViT:
        return _create(name, pretrained, **kwargs)

    create.__name__ = create.__qualname__ = name
    create.__doc__ = description
    globals()[name] = register_model(create)


for _name, _entry in _VARIANTS.items():
    _register(_name, _entry.description)
