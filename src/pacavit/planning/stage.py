"""The stage ``costs``: what the paper's targets take."""

from __future__ import annotations

import json
from pathlib import Path

from pacavit.files import write_json
from pacavit.job import Job
from pacavit.planning import costs
from pacavit.planning.table import as_markdown, headline, plan_for

#: The scale and the targets that the README tells of.
PAPER, _TARGETS = "paper", ("main", "all")


def write(job: Job) -> None:
    """Write the plans."""
    counted = costs.counted(job.inputs["complexity"])
    plans = [plan_for(job.paper, PAPER, target, counted=counted) for target in _TARGETS]
    write_json(job.outputs["costs"], {plan["target"]: plan for plan in plans})
    job.run.log(
        {f"{plan['target']}_hours_{i}": plan["wall_hours"][i] for plan in plans for i in (0, 1)}, step=0
    )
    job.run.artifact(job.outputs["costs"])


def text(path: Path) -> str:
    """Return the plans in a file that :func:`write` wrote, as the README shows them."""
    plans = json.loads(path.read_text())
    ordered = [plans[target] for target in _TARGETS]
    return "\n\n".join([*(f"{headline(plan)}." for plan in ordered), as_markdown(ordered[-1])])
