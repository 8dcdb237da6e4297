"""Result tables, one a task: what was measured over seeds, beside what was published."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import pandas as pd

from pacavit.claims.results import Measured, Results
from pacavit.files import atomic_file
from pacavit.job import Job
from pacavit.published import Claim
from pacavit.tasks import TASKS


def write(job: Job, claims: Sequence[Claim], results: Results) -> None:
    """Write the table of each task as CSV, and as Markdown for people."""
    for task in TASKS:
        table = tabulate(task, claims, results)
        with atomic_file(job.outputs[f"{task}_csv"]) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")
        with atomic_file(job.outputs[f"{task}_md"]) as temporary:
            temporary.write_text(as_markdown(table))
        for form in ("csv", "md"):
            job.run.artifact(job.outputs[f"{task}_{form}"])


def tabulate(task: str, claims: Sequence[Claim], results: Results) -> pd.DataFrame:
    """Return a row a model and metric: published value, mean, standard deviation and number of seeds.

    The deviation is that of a sample (n - 1), and empty for one seed. The published value stands beside numbers of the
    official data alone.
    """
    printed = {(c.task, c.variant, c.head, c.metric): c.value for c in claims}
    rows = [
        _row(key, metric, measured, printed.get((*key, metric), "") if measured.official else "")
        for key, measured in results.items()
        if key[0] == task
        for metric in TASKS[task].published
        if metric in measured.values
    ]
    return pd.DataFrame(
        rows, columns=["variant", "head", "metric", "published", "mean", "deviation", "seeds"]
    )


def as_markdown(table: pd.DataFrame) -> str:
    """Return a line a model and a column a metric: mean ± standard deviation, and the published value in brackets."""
    metrics = list(dict.fromkeys(table.metric))
    lines = [f"| model | {' | '.join([*metrics, 'seeds'])} |", "|---|" + "---:|" * (len(metrics) + 1)]
    for (variant, head), rows in table.groupby(["variant", "head"], sort=False):
        cells = {row.metric: _cell(row) for row in rows.itertuples()}
        shown = [cells.get(metric, "") for metric in metrics]
        lines.append(f"| {f'{variant} {head}'.strip()} | {' | '.join([*shown, str(rows.seeds.max())])} |")
    return "\n".join(lines) + "\n"


def _cell(row: Any) -> str:
    deviation = "" if pd.isna(row.deviation) else f" ± {row.deviation:.2f}"
    published = f" ({row.published})" if row.published else ""
    return f"{row.mean:.2f}{deviation}{published}"


def _row(key: tuple[str, str, str], metric: str, measured: Measured, published: str) -> dict[str, object]:
    values = measured.values[metric]
    return {
        "variant": key[1],
        "head": key[2],
        "metric": metric,
        "published": published,
        "mean": statistics.mean(values),
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "seeds": len(values),
    }
