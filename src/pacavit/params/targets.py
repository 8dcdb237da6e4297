"""``params/<scale>/targets.yaml``: what a run reproduces."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pacavit.params.base import Page, Seed

#: Names become parts of paths and commands, so they are plain words.
Variant = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
Head = Literal["paca", "upernet"]


class TargetsPage(Page):
    """Variants, segmentation heads and seeds; every combination is trained and evaluated."""

    variants: list[Variant] = Field(min_length=1, description="registered model names")
    heads: list[Head] = Field(min_length=1, description="segmentation heads")
    seeds: list[Seed] = Field(min_length=1, description="one training per seed")
