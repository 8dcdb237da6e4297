"""What every rule shares: the stages at the chosen scale, and what their names may look like."""

from pacavit import params, workflow as pacavit_workflow

PIPELINE = pacavit_workflow.begin(
    config.get("scale", params.DEFAULT_SCALE), workflow.is_main_process
)


wildcard_constraints:
    variant=r"[a-z0-9_]+",
    head=r"paca|upernet",
    seed=r"[0-9]+",
