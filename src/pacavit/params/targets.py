"""``params/<scale>/targets.yaml``: what a run reproduces."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pacavit.params.base import Page, Seed
from pacavit.tasks import HEADS

#: Names become parts of paths and commands, so they are plain words.
Variant = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
Group = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Head = Literal[HEADS]
Module = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]
#: What a keyword of a model may be: YAML's own types.
Value = bool | int | float | str | None | list[Any] | dict[str, Any]


#: Keywords of timm that others decide: the recipes, the data, and that no weights are fetched.
_RESERVED = (
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"),
    *("num_classes", "in_chans", "drop_path_rate", "features_only", "out_indices"),
)


class ModelPage(Page):
    """How timm creates a variant."""

    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")] | None = Field(
        default=None, description="registered name; the variant's own name without one"
    )
    kwargs: dict[str, Value] = Field(default={}, description="keywords of timm.create_model")

    @model_validator(mode="after")
    def _keywords_are_free(self) -> ModelPage:
        if taken := [key for key in self.kwargs if key in _RESERVED]:
            raise ValueError(f"kwargs.{taken[0]}: is set by the recipes or the pipeline; remove it")
        return self


@dataclass(frozen=True)
class Model:
    """A variant as timm creates it.

    Attributes:
        variant: its name under ``params/``.
        model: name that is registered with timm.
        kwargs: keywords of ``timm.create_model``.
        imports: modules of the user that register models.
    """

    variant: str
    model: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    imports: tuple[str, ...] = ()

    @classmethod
    def of(cls, named: str | Model) -> Model:
        """Return the model of a registered name, which is its variant's too; a model is its own."""
        return cls(named, named) if isinstance(named, str) else named

    @property
    def is_paca(self) -> bool:
        """Whether it is a PaCa-ViT, told by the registered name, so that nothing is imported for it."""
        return "pacavit" in self.model

    @property
    def has_clusters(self) -> bool:
        """Whether its patches attend to clusters in some stage; what is made from clusters exists for these alone."""
        return self.is_paca and any(self.kwargs.get("num_clusters", [1]))

    def takes(self, head: str) -> bool:
        """Return whether a segmentation head can be put on it: the PaCa head is for models with clusters."""
        return head != "paca" or self.has_clusters


class TargetsPage(Page):
    """Variants, segmentation heads and seeds; every combination is trained and evaluated."""

    variants: list[Variant] = Field(min_length=1, description="what a run without a target trains")
    heads: list[Head] = Field(min_length=1, description="segmentation heads")
    seeds: list[Seed] = Field(min_length=1, description="one training per seed")
    only: dict[Head, list[Variant]] = Field(default={}, description="variants that a head is limited to")
    groups: dict[Group, list[Variant]] = Field(
        default={}, description="variants that are asked for by one name, others than `variants` too"
    )
    models: dict[Variant, ModelPage] = Field(
        default={}, description="variants that are not registered with timm under their own name"
    )
    imports: list[Module] = Field(
        default=[], description="modules that register models with timm, found from the project's root"
    )

    @model_validator(mode="after")
    def _consistent(self) -> TargetsPage:
        for key in ("variants", "heads", "seeds", "imports"):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                raise ValueError(f"{key}: {values} names one twice")
        named = {f"only.{head}": names for head, names in self.only.items()} | {"models": list(self.models)}
        for section, names in named.items():
            if unknown := sorted(set(names) - set(self.every)):
                raise ValueError(
                    f"{section}: {unknown[0]!r} is not one of the variants, nor in a group; add it there"
                )
        for variant in self.variants:
            if not self.heads_of(variant):
                raise ValueError(
                    f"heads: {self.heads} has none for {variant!r}, which has no clusters for the PaCa head; add one"
                )
        return self

    @property
    def every(self) -> list[str]:
        """All variants: those that a run trains, then those that are asked for by a group or by name."""
        return list(dict.fromkeys([*self.variants, *(n for group in self.groups.values() for n in group)]))

    @property
    def optional(self) -> list[str]:
        """The variants that are trained only if a group, or the variant, is asked for."""
        return [name for name in self.every if name not in self.variants]

    def limited_to(self, variants: list[str]) -> TargetsPage:
        """Return the page for some variants, in its own order."""
        return self.model_copy(update={"variants": [name for name in self.every if name in variants]})

    def model(self, variant: str) -> Model:
        """Return how timm creates a variant."""
        entry = self.models.get(variant, ModelPage())
        return Model(variant, entry.model or variant, entry.kwargs, tuple(self.imports))

    def heads_of(self, variant: str) -> list[str]:
        """Return the segmentation heads that a variant is trained with."""
        model = self.model(variant)
        return [
            head for head in self.heads if model.takes(head) and variant in self.only.get(head, [variant])
        ]

    def has(self, names: dict[str, str | int]) -> bool:
        """Return whether a job with these names is wanted."""
        return "head" not in names or names["head"] in self.heads_of(str(names["variant"]))
