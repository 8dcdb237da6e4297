"""The paper's statements as comparisons of measured quantities.

A statement holds if every one of its comparisons does; one whose quantities are not all measured needs data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pacavit.published import COUNTS
from pacavit.tasks import TASKS


class Quantity(NamedTuple):
    """What was measured of a model: a metric of a claim, or ``multiply_adds`` counted correctly."""

    task: str
    variant: str
    head: str
    metric: str

    def __str__(self) -> str:
        return " ".join(part for part in (self.task, self.variant, self.head, self.metric) if part)


@dataclass(frozen=True)
class Comparison:
    """``left`` is below, above or about as high as ``right``."""

    left: Quantity
    relation: Literal["<", ">", "~"]
    right: Quantity


TINY, SMALL, BASE = (f"pacavit_{size}_p2cconv_100_0" for size in ("tiny", "small", "base"))

#: For each of our sizes the PVTs nearest to it in parameters.
_PVT_RIVALS = {
    TINY: ("pvt_tiny", "pvt_v2_b1"),
    SMALL: ("pvt_small", "pvt_v2_b2"),
    BASE: ("pvt_medium", "pvt_v2_b3"),
}
_SWIN_RIVALS = {TINY: "swin_tiny", SMALL: "swin_tiny", BASE: "swin_small"}


def _cheaper_than_pvt() -> list[Comparison]:
    comparisons = []
    for ours, rivals in _PVT_RIVALS.items():
        for rival in rivals:
            for task, head, other in (("coco", "", ""), ("ade20k", "paca", "semantic_fpn")):
                left = Quantity(task, ours, head, "multiply_adds")
                comparisons.append(Comparison(left, "<", Quantity(task, rival, other, "multiply_adds")))
    return comparisons


def _stagewise() -> list[Comparison]:
    stage, block = "pacavit_small_p2cconv_100", "pacavit_small_p2cconv_100_blockwise"
    comparisons = []
    for task in TASKS.values():
        head, ranked = "paca" if task.has_heads else "", task.metrics[0].published
        for cost in ("parameters", "multiply_adds"):
            comparisons.append(
                Comparison(
                    Quantity(task.name, stage, head, cost), "<", Quantity(task.name, block, head, cost)
                )
            )
        comparisons.append(
            Comparison(
                Quantity(task.name, stage, head, ranked), "~", Quantity(task.name, block, head, ranked)
            )
        )
    return comparisons


def _head() -> list[Comparison]:
    comparisons = []
    for variant in (TINY, SMALL, BASE):
        for metric, relation in (("parameters", "<"), ("multiply_adds", "<"), ("miou", ">")):
            left, right = (Quantity("ade20k", variant, head, metric) for head in ("paca", "upernet"))
            comparisons.append(Comparison(left, relation, right))
    return comparisons


def _better_than_prior(task: str) -> list[Comparison]:
    metric, head = TASKS[task].metrics[0].published, "upernet" if TASKS[task].has_heads else ""
    comparisons = []
    for ours, rivals in _PVT_RIVALS.items():
        for rival in (_SWIN_RIVALS[ours], *rivals):
            other = "" if task != "ade20k" else "upernet" if rival.startswith("swin") else "semantic_fpn"
            comparisons.append(
                Comparison(Quantity(task, ours, head, metric), ">", Quantity(task, rival, other, metric))
            )
    return comparisons


STATEMENTS: Mapping[str, list[Comparison]] = {
    "claim.c_vs_pvt": _cheaper_than_pvt(),
    "claim.c_stagewise": _stagewise(),
    "claim.c_seghead": _head(),
    "claim.imagenet_vs_prior": _better_than_prior("imagenet"),
    "claim.coco_vs_prior": _better_than_prior("coco"),
    "claim.ade20k_vs_prior": _better_than_prior("ade20k"),
    "claim.imagenet_conv_vs_mlp": [
        Comparison(
            Quantity("imagenet", SMALL, "", "top1"),
            "~",
            Quantity("imagenet", "pacavit_small_p2cmlp_100_0", "", "top1"),
        )
    ],
}

#: The one statement that is not about models but about one layer.
LINEAR = "claim.c_linear"


def counted_quantities() -> list[Quantity]:
    """Return the parameters and operations that statements compare."""
    sides = [side for all_ in STATEMENTS.values() for c in all_ for side in (c.left, c.right)]
    return [quantity for quantity in sides if quantity.metric in COUNTS]


def judge(
    claim_id: str,
    measured: Callable[[Quantity], float | None],
    tolerance: Mapping[str, float],
    attention: Mapping[str, Any],
) -> tuple[str, str]:
    """Return verdict and reason of a statement.

    Args:
        claim_id: which one.
        measured: gives a quantity's value, or None if it has not been measured.
        tolerance: of ``~``, by metric, in the metric's unit.
        attention: cost of one layer, from the stage ``complexity``.

    Raises:
        KeyError: no such statement.
    """
    if claim_id == LINEAR:
        return _judge_linear(attention)
    failed, missing, held = [], [], 0
    for comparison in STATEMENTS[claim_id]:
        left, right = measured(comparison.left), measured(comparison.right)
        if left is None or right is None:
            missing.append(str(comparison.left if left is None else comparison.right))
        elif _holds(comparison, left, right, tolerance):
            held += 1
        else:
            sides = _shown(comparison.left, left), _shown(comparison.right, right)
            failed.append(f" is not {comparison.relation} ".join(sides))
    known = f"{held} of {held + len(failed)} measured comparisons hold"
    if failed:
        return "differs", f"{known}; {'; '.join(failed)}"
    if missing:
        open_ = f"{len(missing)} comparisons need trained models, e.g. {missing[0]}"
        return "needs data", f"{known}; {open_}" if held else open_
    return "reproduced", known


def _shown(quantity: Quantity, value: float) -> str:
    if quantity.metric == "multiply_adds":
        return f"{quantity} {value / 1e9:.1f} G"
    return f"{quantity} {value / 1e6:.2f} M" if quantity.metric == "parameters" else f"{quantity} {value:.2f}"


def _holds(comparison: Comparison, left: float, right: float, tolerance: Mapping[str, float]) -> bool:
    if comparison.relation == "~":
        return abs(left - right) <= tolerance[comparison.left.metric]
    return left < right if comparison.relation == "<" else left > right


def _judge_linear(attention: Mapping[str, Any]) -> tuple[str, str]:
    patches = attention["patches"]

    def growth(clusters: int) -> float:
        """Return how many times the cost of the last added patches exceeds that of the first."""
        cost = attention[f"clusters_{clusters}"]
        slopes = [(cost[i + 1] - cost[i]) / (patches[i + 1] - patches[i]) for i in (0, len(patches) - 2)]
        return slopes[1] / slopes[0]

    ours, plain = growth(100), growth(0)
    reason = (
        f"from {patches[0]} to {patches[-1]} patches the cost of one more grows {ours:.4f} times with 100 clusters, "
        f"{plain:.2f} times with none"
    )
    return ("reproduced" if abs(ours - 1) < 1e-6 < plain - 1 else "differs"), reason
