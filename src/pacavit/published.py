"""The published numbers, read from ``claims/published.csv`` and checked line by line."""

from __future__ import annotations

import csv
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pacavit.errors import PacavitError
from pacavit.tasks import TASKS

#: Metrics that are counted of a model without weights or data.
COUNTS = ("parameters", "multiply_adds")

Metric = Literal[
    "parameters",
    "multiply_adds",
    "top1",
    "ap_box",
    "ap50_box",
    "ap75_box",
    "ap_mask",
    "ap50_mask",
    "ap75_mask",
    "miou",
    "miou_ms",
    "statement",
]


class Claim(BaseModel):
    """One published number or statement.

    Attributes:
        id: unique, ``<table>.<row>.<metric>``.
        task: ``imagenet``, ``coco`` or ``ade20k``; ``complexity`` for statements about cost.
        model: as the source prints it.
        variant: registered name of a PaCa-ViT, or of a baseline of :mod:`pacavit.claims.baselines`.
        head: segmentation head, for ADE20K.
        setting: what it was trained and measured with.
        input: height x width in pixels at which operations were counted.
        metric: what the number is.
        value: as printed, so that its digits tell its precision.
        unit: ``M`` parameters, ``G`` multiply-adds, ``%``.
        source: where it is printed.
        note: what a reader should know.
        misprint: why the number cannot be what the source meant; empty if it may be right.
        checkpoint: file name of the released weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]+$")]
    task: Literal["imagenet", "coco", "ade20k", "complexity"]
    model: Annotated[str, Field(min_length=1)]
    variant: Annotated[str, Field(pattern=r"^[a-z0-9_]*$")]
    head: Literal["", "paca", "upernet", "semantic_fpn"]
    setting: str
    input: Annotated[str, Field(pattern=r"^(\d+x\d+)?$")]
    metric: Metric
    value: Annotated[str, Field(min_length=1)]
    unit: Literal["", "M", "G", "%"]
    source: Annotated[str, Field(min_length=1)]
    note: str
    misprint: str
    checkpoint: str

    @model_validator(mode="after")
    def _consistent(self) -> Claim:
        if self.metric == "statement":
            return self
        try:
            number = Decimal(self.value)
        except InvalidOperation:
            raise ValueError(f"value {self.value!r} is no number") from None
        if not number.is_finite() or number <= 0:
            raise ValueError(f"value {self.value} is not above 0")
        if not self.variant:
            raise ValueError("variant is empty; a number belongs to a model")
        if bool(self.input) != (self.metric == "multiply_adds"):
            raise ValueError("input stands with multiply_adds, and with nothing else")
        if bool(self.head) != (self.task == "ade20k"):
            raise ValueError("head stands with ade20k, and with nothing else")
        return self

    @property
    def number(self) -> float:
        """The value of a claim that is no statement."""
        return float(self.value)

    @property
    def last_place(self) -> float:
        """One unit in the last printed place."""
        return 10.0 ** int(Decimal(self.value).as_tuple().exponent)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of ``input``, pixels."""
        height, width = self.input.split("x")
        return int(height), int(width)


class Counted(NamedTuple):
    """One model at one input size."""

    task: str
    variant: str
    head: str
    size: tuple[int, int]


def counted_by(claim: Claim) -> Counted:
    """Return the model whose parameters or operations a claim states."""
    return Counted(
        claim.task, claim.variant, claim.head, claim.size if claim.input else TASKS[claim.task].size
    )


def is_paca(variant: str) -> bool:
    """Return whether a claim's variant is a PaCa-ViT and no baseline, without the imports that its model needs."""
    return variant.startswith("pacavit_")


def read(path: Path) -> list[Claim]:
    """Return the claims of a file, in its order.

    Raises:
        PacavitError: the file is missing or not a CSV of claims; a line breaks the schema; an id stands twice.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file, restkey="(more columns)"))
    except FileNotFoundError:
        raise PacavitError(f"{path}: missing; restore it with `git checkout {path}`") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise PacavitError(
            f"{path}: not a CSV file ({error}); restore it with `git checkout {path}`"
        ) from None
    if not lines:
        raise PacavitError(f"{path}: holds no claim; restore it with `git checkout {path}`")
    claims: dict[str, Claim] = {}
    for number, line in enumerate(lines, start=2):
        try:
            claim = Claim.model_validate(line)
        except ValidationError as error:
            problem = error.errors()[0]
            column = ".".join(str(part) for part in problem["loc"])
            found = f", found {problem['input']!r}" if column else ""
            raise PacavitError(
                f"{path}: line {number} ({line.get('id')}): {column + ': ' if column else ''}{problem['msg']}{found}"
            ) from None
        if claim.id in claims:
            raise PacavitError(f"{path}: line {number}: id {claim.id!r} stands twice; rename one")
        claims[claim.id] = claim
    return list(claims.values())


@cache
def checkpoints(path: Path) -> dict[tuple[str, str, str], str]:
    """Return the file names of the released weights, by task, variant and head (empty but for ADE20K).

    Where two rows of the authors' README link to one file (``docs/deviations.md``, R1), it is of the first.

    Raises:
        PacavitError: as :func:`read`.
    """
    found: dict[tuple[str, str, str], str] = {}
    for claim in read(path):
        key = (claim.task, claim.variant, claim.head)
        if claim.checkpoint and key not in found and claim.checkpoint not in found.values():
            found[key] = claim.checkpoint
    return found
