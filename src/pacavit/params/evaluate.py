"""``params/<scale>/evaluate.yaml``: how trained models are measured."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pacavit.params.base import Count, Page


class Evaluation(Page):
    """Measurement of one task on its validation images."""

    batch_size: Count = Field(description="images at a time, per process")
    workers: Annotated[int, Field(ge=0)] = Field(description="processes that load images; 0: this one")
    untrained: bool = Field(description="also measure the same model without training, for comparison")
    keep: Count = Field(description="predictions of so many validation images, spread over the set, are kept")


class ClusterMeasurement(Page):
    """Measurement of a segmentor's clusters."""

    images: Count = Field(description="validation images, from the first on")
    kept: Count = Field(description="images whose assignments are kept, to compare seeds by")


class EvaluatePage(Page):
    """One section a task."""

    imagenet: Evaluation
    coco: Evaluation
    ade20k: Evaluation
    clusters: ClusterMeasurement
