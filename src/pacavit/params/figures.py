"""``params/<scale>/figures.yaml``: what the figures and the report show."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pacavit.params.base import Count, Page


class TaskFigures(Page):
    """Figures of one task."""

    images: Count = Field(
        description="validation images with predictions, spread over those that the evaluation keeps"
    )
    explained: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = Field(
        description="numbers of the validation images whose clusters are shown"
    )
    side: Annotated[int, Field(ge=32, le=512)] = Field(
        description="their shorter side in the model, pixels: the page grows with its square"
    )


class ReportOptions(Page):
    """The page over all results."""

    title: Annotated[str, Field(min_length=1)]
    clickable: list[str] = Field(
        description="variants whose clusters one can click; an image of 224² takes 2 to 7 MB"
    )


class FiguresPage(Page):
    """One section a task, and the report's."""

    imagenet: TaskFigures
    coco: TaskFigures
    ade20k: TaskFigures
    report: ReportOptions
