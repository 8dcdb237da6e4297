"""``params/<scale>/ade20k.yaml``: semantic segmentation on ADE20K."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pacavit.params.base import (
    Betas,
    Count,
    Fraction,
    Interval,
    NonNegative,
    Page,
    Positive,
    Precision,
    PretrainedWeights,
    Workers,
)
from pacavit.params.targets import Head, Variant

DropPath = Annotated[float, Field(ge=0, lt=1)]


class Ade20kRecipe(Page):
    """One page that fine-tunes every variant and head."""

    pretrained_weights: PretrainedWeights
    crop: Annotated[int, Field(ge=32)] = Field(description="side of the square training crop, pixels")
    scale: Annotated[list[Count], Field(min_length=2, max_length=2)] = Field(
        description="largest long and short side"
    )
    resize_ratio: Interval = Field(description="range of the random factor on scale")
    cat_max_ratio: Fraction = Field(description="largest share of one class in a crop")
    hflip: Fraction
    photometric: bool = Field(description="random brightness, contrast, saturation and hue")
    updates: Count
    global_batch: Count = Field(description="images of one update, over all processes")
    micro_batch: Count = Field(description="images at once in one process")
    workers: Workers
    precision: Precision
    betas: Betas
    lr: Positive
    weight_decay: NonNegative = Field(description="not for parameters with `norm` in their name")
    warmup_updates: Annotated[int, Field(ge=0)]
    warmup_start: Fraction = Field(description="share of the rate at the first update")
    clip_grad: Positive | None
    log_updates: Count = Field(
        description="updates between two points of the learning curve, and two lines of the log"
    )
    validate_updates: Count = Field(description="updates between two validations")
    checkpoint_updates: Count

    @model_validator(mode="after")
    def _consistent(self) -> Ade20kRecipe:
        if self.warmup_updates >= self.updates:
            raise ValueError(
                f"warmup_updates {self.warmup_updates} must be fewer than updates {self.updates}"
            )
        return self


class PacaHeadParams(Page):
    """The PaCa head."""

    channels: Count
    cluster_loss_weight: NonNegative = Field(description="of the loss on the cluster logits")
    lr_multiplier: Positive = Field(
        description="of the rate for the head and for cluster layers that start anew"
    )
    multiplied: Literal["meant", "literal"] = Field(
        description="literal: of the cluster layers only those named clustering.4, as the published configuration"
    )


class UperNetParams(Page):
    """UPerNet with its auxiliary head."""

    channels: Count
    auxiliary_channels: Count
    lr_multiplier: Positive = Field(default=1.0, description="of the rate for both heads; published: 1")


class FpnParams(Page):
    """Semantic FPN, the segmentor of the PVT papers."""

    channels: Count
    neck_channels: Count = Field(description="of the feature pyramid below the head")
    lr_multiplier: Positive = Field(default=1.0, description="of the rate for pyramid and head; published: 1")


#: The class of each head's parameters, by the names in :data:`pacavit.tasks.HEADS`.
HEAD_PARAMS = {"paca": PacaHeadParams, "upernet": UperNetParams, "fpn": FpnParams}


class Heads(Page):
    """The heads, by the names in :data:`pacavit.tasks.HEADS`; those that ``targets.yaml`` asks for are needed."""

    paca: PacaHeadParams | None = None
    upernet: UperNetParams | None = None
    fpn: FpnParams | None = None


class Ade20kVariant(Page):
    """What differs between variants."""

    num_clusters: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=4, max_length=4)] | None = (
        Field(default=None, description="of a PaCa-ViT's stages; other models have none")
    )
    drop_path: dict[Head, DropPath] = Field(description="stochastic depth of the backbone, by head")


class Ade20kPage(Page):
    """The recipe, the heads, and the variants by name."""

    recipe: Ade20kRecipe
    heads: Heads
    variants: dict[Variant, Ade20kVariant]
