"""``params/<scale>/plan.yaml``: what the estimates of `pacavit plan` rest on, and cannot count."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from pacavit.params.base import Count, Page, Positive

Range = Annotated[list[Positive], Field(min_length=2, max_length=2)]


class Processor(Page):
    """A kind of GPU, or a CPU."""

    tflops: Positive = Field(description="peak of matrix products in the training's precision, 10¹² FLOP/s")
    gigabytes: Positive = Field(description="memory")


class Utilisation(Page):
    """Share of the peak that a task reaches, from and to."""

    imagenet: Range
    coco: Range
    ade20k: Range


class PlanPage(Page):
    """Processors, and rates that are measured or assumed."""

    processors: dict[Annotated[str, Field(pattern=r"^[a-z0-9]+$")], Processor] = Field(min_length=1)
    utilisation: Utilisation
    processor: str = Field(description="the one that is taken unless another is asked for")
    count: Count = Field(description="how many of it, likewise")
    cores: Count = Field(description="CPU cores of a preparing job")
    prepare_images_per_s: Positive = Field(description="images a second and core, checked and written")
    worker_gigabytes: Positive = Field(description="host memory of a process that loads images")

    @model_validator(mode="after")
    def _consistent(self) -> PlanPage:
        if self.processor not in self.processors:
            raise ValueError(f"processor {self.processor!r} is not among {', '.join(self.processors)}")
        return self
