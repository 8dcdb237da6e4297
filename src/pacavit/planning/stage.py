"""The stage ``costs``: what the paper's targets take, in a file and in the README."""

from __future__ import annotations

from pacavit import readme
from pacavit.files import write_json
from pacavit.planning.table import as_markdown, headline, plan_for
from pacavit.stages import Job
from pacavit.training.progress import report

#: The scale and the targets that the README tells of.
_SCALE, _TARGETS = "paper", ("main", "all")


def write(job: Job) -> None:
    """Write the plans, and renew the README."""
    plans = [plan_for(_SCALE, target) for target in _TARGETS]
    write_json(job.outputs["costs"], {plan["target"]: plan for plan in plans})
    job.run.log(
        {f"{plan['target']}_hours_{i}": plan["wall_hours"][i] for plan in plans for i in (0, 1)}, step=0
    )
    job.run.artifact(job.outputs["costs"])
    text = "\n\n".join([*(f"{headline(plan)}." for plan in plans), as_markdown(plans[-1])])
    if readme.update("pacavit costs", text):
        report("costs: the plan in README.md is renewed")
