"""``params/<scale>/targets.yaml``: what a run reproduces."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pacavit.params.base import Page, Seed
from pacavit.tasks import HEADS

#: Names become parts of paths and commands, so they are plain words.
Variant = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
Group = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Head = Literal[HEADS]


class TargetsPage(Page):
    """Variants, segmentation heads and seeds; every combination is trained and evaluated."""

    variants: list[Variant] = Field(min_length=1, description="registered model names")
    heads: list[Head] = Field(min_length=1, description="segmentation heads")
    seeds: list[Seed] = Field(min_length=1, description="one training per seed")
    only: dict[Head, list[Variant]] = Field(default={}, description="variants that a head is limited to")
    groups: dict[Group, list[Variant]] = Field(
        default={}, description="parts of the variants that are asked for by name"
    )

    @model_validator(mode="after")
    def _consistent(self) -> TargetsPage:
        for key in ("variants", "heads", "seeds"):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                raise ValueError(f"{key}: {values} names one twice")
        for section in ("only", "groups"):
            for name, variants in getattr(self, section).items():
                if unknown := sorted(set(variants) - set(self.variants)):
                    raise ValueError(
                        f"{section}.{name}: {unknown[0]!r} is not one of the variants; add it there"
                    )
        return self

    def limited_to(self, variants: list[str]) -> TargetsPage:
        """Return the page with fewer variants, in its own order."""
        return self.model_copy(update={"variants": [name for name in self.variants if name in variants]})

    def has(self, names: dict[str, str | int]) -> bool:
        """Return whether a job with these names is wanted: its head may be limited to other variants."""
        limited = self.only.get(str(names.get("head")))
        return limited is None or names["variant"] in limited
