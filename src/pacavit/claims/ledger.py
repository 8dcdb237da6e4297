"""The stage ``claims``: every published number, the one measured here, how it was measured, and a verdict."""

from __future__ import annotations

import csv
import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from pacavit import published
from pacavit.claims import results, statements, tables
from pacavit.claims.results import METRICS, Measured, Results, official
from pacavit.claims.statements import Quantity
from pacavit.files import atomic_file
from pacavit.job import Job
from pacavit.params.claims import Agreement, ClaimsPage
from pacavit.pipeline import targets
from pacavit.published import COUNTS, Claim, Counted, counted_by, is_paca
from pacavit.runtime.progress import report
from pacavit.tasks import TASKS

Verdict = Literal["reproduced", "within tolerance", "differs", "misprint", "needs data"]
VERDICTS: tuple[Verdict, ...] = ("reproduced", "within tolerance", "differs", "misprint", "needs data")

_UNITS = {"M": 1e6, "G": 1e9}
#: Fields of an entry that are empty unless something was measured.
_MEASURED = (
    "measured",
    "spread",
    "seeds",
    "released",
    "released_verdict",
    "correct",
    "how",
    "commit",
    "data",
)


@dataclass(frozen=True)
class Entry:
    """A line of the ledger.

    Attributes:
        id, task, model, variant, head, setting, metric, unit, published, source: of the claim.
        measured: in the unit of the claim, the mean over seeds; empty if not measured.
        spread: standard deviation over seeds; empty for counts and for one seed.
        seeds: trainings that were measured.
        released: what the authors' weights give here, in the unit of the claim.
        released_verdict: how that agrees with the claim; it tells of the evaluation, not of the training.
        correct: multiply-adds with every product counted once, beside the authors' way.
        how: counter or evaluation, and input size.
        commit, data: of the measuring code, and the hash of the data.
        verdict: one of :data:`VERDICTS`.
        why: what the verdict rests on, and what the claim's note says.
    """

    id: str
    task: str
    model: str
    variant: str
    head: str
    setting: str
    metric: str
    unit: str
    published: str
    source: str
    measured: str
    spread: str
    seeds: str
    released: str
    released_verdict: str
    correct: str
    how: str
    commit: str
    data: str
    verdict: Verdict
    why: str


def write(job: Job) -> None:
    """Write the ledger."""
    claims = published.read(job.inputs["published"])
    complexity = json.loads(job.inputs["complexity"].read_text())
    trained, released = results.trained(job), results.released(job)
    entries = judge_all(claims, complexity, official(trained), job.params.claims, official(released))
    tables.write(job, claims, trained)
    save(job.outputs["ledger"], entries)
    table = summary(entries)
    job.run.log({verdict.replace(" ", "_"): n for verdict, n in table["all"].items()}, step=0)
    job.run.artifact(job.outputs["ledger"])
    report("claims: " + ", ".join(f"{n} {verdict}" for verdict, n in table["all"].items()))


def save(path: Path, entries: Sequence[Entry]) -> None:
    """Write a ledger as CSV."""
    with atomic_file(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Entry)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(entry) for entry in entries)


def read(path: Path) -> list[Entry]:
    """Return the lines of a ledger that :func:`save` wrote."""
    with open(path, newline="") as file:
        return [Entry(**line) for line in csv.DictReader(file)]


def difference(entry: Entry) -> str:
    """Return measured minus published, with its sign, where both are numbers; a dash otherwise."""
    try:
        return f"{float(entry.measured) - float(entry.published):+.3g}"
    except ValueError:
        return "—"


def judge_all(
    claims: Sequence[Claim],
    complexity: Mapping[str, Any],
    trained: Results,
    page: ClaimsPage,
    released: Results | None = None,
) -> list[Entry]:
    """Return the ledger.

    Args:
        claims: the published numbers.
        complexity: what the stage of that name wrote.
        trained: models trained here, as far as there are any, on the official data.
        page: when numbers agree.
        released: the authors' weights measured here, likewise.
    """
    released = released or {}
    counts = {
        Counted(m["task"], m["variant"], m["head"], tuple(int(side) for side in m["input"].split("x"))): m
        for m in complexity["models"]
    }
    commit = complexity["origin"]["commit"]
    # Rivals are not trained here; of several published accuracies the best counts.
    prior: dict[Quantity, float] = {}
    for claim in claims:
        if claim.metric in METRICS and not is_paca(claim.variant):
            quantity = Quantity(claim.task, claim.variant, claim.head, claim.metric)
            prior[quantity] = max(claim.number, prior.get(quantity, 0.0))

    def measured(quantity: Quantity) -> float | None:
        key = (quantity.task, quantity.variant, quantity.head)
        if quantity.metric in COUNTS:
            return counts[Counted(*key, TASKS[quantity.task].size)][quantity.metric]
        if not is_paca(quantity.variant):
            return prior.get(quantity)
        values = trained[key].values[quantity.metric] if key in trained else []
        return statistics.mean(values) if len(values) >= _agreement(quantity.metric, page).seeds else None

    entries = []
    for claim in claims:
        if claim.metric == "statement":
            tolerance = {metric: _agreement(metric, page).tolerance for metric in METRICS}
            verdict, why = statements.judge(claim.id, measured, tolerance, complexity["attention"])
            entries.append(_entry(claim, verdict, why, how="comparisons", commit=commit))
        elif claim.metric in COUNTS:
            entries.append(_judge_count(claim, counts[counted_by(claim)], page.last_places, commit))
        else:
            key = (claim.task, claim.variant, claim.head)
            entries.append(_judge_metric(claim, trained.get(key), released.get(key), page))
    return entries


def summary(entries: Sequence[Entry]) -> dict[str, dict[Verdict, int]]:
    """Return the number of each verdict by kind of claim, and over all."""
    table: dict[str, Counter[Verdict]] = {}
    for entry in entries:
        for row in (_kind(entry), "all"):
            table.setdefault(row, Counter())[entry.verdict] += 1
    rows = sorted(
        table, key=lambda row: (row == "all", row == "statements", row.startswith("baselines"), row)
    )
    return {row: {verdict: table[row][verdict] for verdict in VERDICTS} for row in rows}


def as_markdown(table: Mapping[str, Mapping[Verdict, int]], scale: str) -> str:
    """Return the summary as a table for the README."""
    lines = [
        f"Verdicts at scale `{scale}`, in full in `{targets.path('claims.ledger', scale)}`:",
        "",
        f"| published | {' | '.join(VERDICTS)} | all |",
        f"|---|{'---:|' * (len(VERDICTS) + 1)}",
    ]
    for row, numbers in table.items():
        cells = [str(numbers[verdict]) for verdict in VERDICTS] + [str(sum(numbers.values()))]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _judge_count(claim: Claim, model: Mapping[str, Any], last_places: float, commit: str) -> Entry:
    """Judge parameters or multiply-adds; of our models these are counted as the authors do."""
    ours = is_paca(claim.variant)
    unit = _UNITS[claim.unit]
    if claim.metric == "parameters":
        value, how, correct = model["parameters"] / unit, "all parameters", ""
    else:
        value = model["multiply_adds_authors" if ours else "multiply_adds"] / unit
        how = f"{'authors’ counter' if ours else 'correct counter'} at {model['input']}, attention counted"
        correct = f"{model['multiply_adds'] / unit:.4g}"
    verdict, why = _compare(claim, value, last_places * claim.last_place)
    if verdict == "differs" and claim.metric == "multiply_adds" and value > claim.number:
        without = value - model["operations"]["attention"] / unit
        if abs(without - claim.number) < (value - claim.number) / 2:
            why += f"; the source seems to leave out the products of attention: {without:.4g} without them"
    return _entry(
        claim,
        verdict,
        _with_note(why, claim),
        measured=f"{value:.6g}",
        correct=correct,
        how=how,
        commit=commit,
    )


def _judge_metric(
    claim: Claim, trained: Measured | None, released: Measured | None, page: ClaimsPage
) -> Entry:
    """Judge an accuracy by the models trained here; what the authors' weights give stands beside it."""
    agreement = _agreement(claim.metric, page)
    theirs = {}
    if released is not None and claim.metric in released.values:
        (value,) = released.values[claim.metric]
        theirs = {
            "released": f"{value:.4g}",
            "released_verdict": _compare(claim, value, agreement.tolerance)[0],
        }
    values = [] if trained is None else trained.values.get(claim.metric, [])
    if trained is None or len(values) < agreement.seeds:
        if not is_paca(claim.variant):
            why = "a baseline's accuracy; this project trains PaCa-ViT only"
        elif values:
            why = f"{len(values)} of {agreement.seeds} seeds are measured; add seeds to targets.yaml"
        else:
            why = f"not trained on {claim.task} here; `snakemake --cores all --config scale=paper` does"
        return _entry(claim, "needs data", _with_note(why, claim), **theirs)
    mean = statistics.mean(values)
    verdict, why = _compare(claim, mean, agreement.tolerance)
    return _entry(
        claim,
        verdict,
        _with_note(why, claim),
        measured=f"{mean:.4g}",
        spread=f"{statistics.stdev(values):.2g}" if len(values) > 1 else "",
        seeds=str(len(values)),
        how="validation set, mean over seeds",
        commit=trained.commit,
        data=trained.data,
        **theirs,
    )


def _compare(claim: Claim, value: float, tolerance: float) -> tuple[Verdict, str]:
    difference = value - claim.number
    shown = f"measured {value:.6g}, published {claim.value}"
    # Half a unit of the last place, and a hair for what floats cannot hold.
    if abs(difference) <= claim.last_place * (0.5 + 1e-9):
        return "reproduced", "rounds to the published value"
    if claim.misprint:
        return "misprint", claim.misprint
    if abs(difference) <= tolerance * (1 + 1e-9):
        return "within tolerance", f"{shown}: {abs(difference):.2g} apart, {tolerance:.2g} allowed"
    return "differs", f"{shown}: {abs(difference):.2g} apart, {tolerance:.2g} allowed"


def _entry(claim: Claim, verdict: str, why: str, **measured: str) -> Entry:
    blank = dict.fromkeys(_MEASURED, "")
    names = ("id", "task", "model", "variant", "head", "setting", "metric", "unit", "source")
    of_claim = {name: getattr(claim, name) for name in names}
    return Entry(**of_claim, published=claim.value, **{**blank, **measured}, verdict=verdict, why=why)


def _with_note(why: str, claim: Claim) -> str:
    return f"{why}; {claim.note}" if claim.note else why


def _agreement(metric: str, page: ClaimsPage) -> Agreement:
    if metric == "top1":
        return page.metrics.top1
    return page.metrics.ap if metric.startswith("ap") else page.metrics.miou


def _kind(entry: Entry) -> str:
    if entry.metric == "statement":
        return "statements"
    whose = "PaCa-ViT" if is_paca(entry.variant) else "baselines"
    what = {"parameters": "parameters", "multiply_adds": "multiply-adds"}.get(entry.metric, "accuracy")
    return f"{whose}: {what}"
