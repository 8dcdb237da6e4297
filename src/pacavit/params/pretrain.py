"""``params/<scale>/pretrain.yaml``: the ImageNet-1k recipe."""

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
    Workers,
)
from pacavit.params.targets import Variant


class Augmentation(Page):
    """What happens to a training image, in this order; values as timm takes them."""

    crop_scale: Interval = Field(description="random resized crop: share of the area")
    crop_ratio: Interval = Field(description="random resized crop: width over height")
    interpolation: Literal["bilinear", "bicubic", "random"]
    hflip: Fraction = Field(description="probability of mirroring")
    auto_augment: str | None = Field(description="timm's policy string, e.g. rand-m9-mstd0.5-inc1")
    random_erasing: Fraction = Field(description="probability of erasing a rectangle, pixel by pixel")
    mixup: NonNegative = Field(description="alpha; 0 is off")
    cutmix: NonNegative = Field(description="alpha; 0 is off")
    mixup_prob: Fraction = Field(description="probability that a batch is mixed at all")
    mixup_switch_prob: Fraction = Field(description="probability of cutmix when both are on")
    smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(description="label smoothing")


class PretrainRecipe(Page):
    """One page that trains every variant."""

    image_size: Annotated[int, Field(ge=32)] = Field(description="side of the square input, pixels")
    crop_pct: Annotated[float, Field(gt=0, le=1)] = Field(
        description="evaluation: side over resized short side"
    )
    epochs: Count
    global_batch: Count = Field(description="images of one update, over all processes")
    micro_batch: Count = Field(description="images at once in one process; more updates accumulate")
    workers: Workers = Field(description="processes that load images; 0 loads in this one")
    precision: Precision = Field(description="auto: fp16 on a GPU, fp32 elsewhere")
    betas: Betas
    eps: Positive
    weight_decay: NonNegative = Field(description="not for vectors and biases")
    lr: Positive = Field(description="peak, at this global batch")
    warmup_lr: NonNegative
    min_lr: NonNegative
    warmup_epochs: Annotated[int, Field(ge=0)] = Field(description="counted inside the epochs")
    lr_per: Literal["epoch", "update"] = Field(description="how often the cosine schedule moves")
    log_updates: Count = Field(
        default=50, description="updates between two lines of a log without a terminal"
    )
    validate_epochs: Count = Field(
        description="epochs between two validations, of which the best gives the weights"
    )
    checkpoint_updates: Count = Field(description="updates between two saved training states")
    augmentation: Augmentation

    @model_validator(mode="after")
    def _consistent(self) -> PretrainRecipe:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs} must be fewer than epochs {self.epochs}")
        if self.micro_batch % 2:
            raise ValueError(
                f"micro_batch {self.micro_batch} must be even: mixup pairs the images of a batch"
            )
        return self


class PretrainVariant(Page):
    """What differs between variants."""

    drop_path: Annotated[float, Field(ge=0, lt=1)] = Field(description="stochastic depth of the last block")
    clip_grad: Positive | None = Field(description="largest norm of the gradient")


class PretrainPage(Page):
    """The recipe, and its variants by name."""

    recipe: PretrainRecipe
    variants: dict[Variant, PretrainVariant]
