"""What every page of parameters shares."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Workers = Annotated[int, Field(ge=0)]
Interval = Annotated[list[Positive], Field(min_length=2, max_length=2)]
Betas = Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=2, max_length=2)]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
PretrainedWeights = Annotated[
    Literal["kept", "lost"],
    Field(
        description="lost: the backbone starts at random again, as mmengine's runner makes the published code do"
    ),
]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Page(BaseModel):
    """A mapping of a page: unknown keys and other types than the stated ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
