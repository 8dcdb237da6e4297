"""``params/<scale>/coco.yaml``: Mask R-CNN on COCO."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pacavit.params.base import (
    Betas,
    Count,
    Fraction,
    NonNegative,
    Page,
    Positive,
    Precision,
    PretrainedWeights,
    Workers,
)
from pacavit.params.targets import Variant

Sides = Annotated[list[Count], Field(min_length=1)]


class DetectorParams(Page):
    """Widths and numbers of proposals of Mask R-CNN."""

    channels: Count = Field(description="of the feature pyramid and the mask head")
    anchor_scale: Positive = Field(description="side of an anchor over the stride of its level")
    fc_channels: Count = Field(description="of the box head's two layers")
    mask_convs: Count = Field(description="convolutions of the mask head")
    train_proposals: Count
    test_proposals: Count
    rpn_samples: Count = Field(description="anchors of an image that the proposal loss samples")
    roi_samples: Count = Field(description="proposals of an image that the head's losses sample")
    detections: Count = Field(description="of an image, the best are kept; COCO's AP takes 100 into account")


class CropParams(Page):
    """The second of the two training resizes: to a short side, then a crop, then the first resize."""

    sides: Sides = Field(description="short sides before the crop, pixels")
    size: Annotated[list[Count], Field(min_length=2, max_length=2)] = Field(description="range of its sides")


class CocoRecipe(Page):
    """One page that fine-tunes every variant."""

    pretrained_weights: PretrainedWeights
    detector: DetectorParams
    sides: Sides = Field(description="short sides of the training image, one drawn at random")
    max_side: Count = Field(description="largest long side, pixels")
    test_side: Count = Field(description="short side in evaluation, pixels")
    crop: CropParams | None = Field(description="used for half of the images; null never crops")
    hflip: Fraction
    epochs: Count
    global_batch: Count = Field(description="images of one update, over all processes")
    micro_batch: Count = Field(description="images at once in one process")
    workers: Workers
    precision: Precision
    betas: Betas
    lr: Positive
    weight_decay: NonNegative = Field(description="not for parameters with `norm` in their name")
    warmup_updates: Annotated[int, Field(ge=0)]
    warmup_start: Fraction = Field(description="share of the rate at the first update")
    drop_epochs: list[Count] = Field(description="epochs after which the rate falls to a tenth")
    clip_grad: Positive | None
    log_updates: Count = Field(
        description="updates between two points of the learning curve, and two lines of the log"
    )
    validate_epochs: Count = Field(description="epochs between two validations")
    checkpoint_updates: Count


class CocoVariant(Page):
    """What differs between variants."""

    drop_path: Annotated[float, Field(ge=0, lt=1)]


class CocoPage(Page):
    """The recipe, and its variants by name."""

    recipe: CocoRecipe
    variants: dict[Variant, CocoVariant]
