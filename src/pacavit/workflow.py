"""What Snakemake's rules take from the table of stages, at one scale."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pacavit import bridge, params, paths, stages
from pacavit.errors import PacavitError


class Pipeline:
    """The stages at one scale, with checked parameters.

    Args:
        scale: folder below ``params/``.

    Raises:
        PacavitError: a parameter is wrong.
    """

    def __init__(self, scale: str) -> None:
        self.scale = scale
        self.params = params.load(scale)

    def inputs(self, stage: str) -> dict[str, str]:
        """Return the patterns of what a stage reads."""
        return {name: paths.fill(p, scale=self.scale) for name, p in stages.STAGES[stage].inputs.items()}

    def outputs(self, stage: str) -> dict[str, str]:
        """Return the patterns of what a stage writes."""
        return {name: paths.fill(p, scale=self.scale) for name, p in stages.STAGES[stage].outputs.items()}

    def gathered(self, stage: str) -> list[str]:
        """Return the files that a stage reads of all targets of others."""
        return stages.gathered(stage, self.scale, self.params.targets)

    def parts(self) -> list[str]:
        """Return what one can ask for by name, beside files and everything.

        Raises:
            PacavitError: a group has a name that is taken.
        """
        names = stages.target_names(self.params.targets)
        taken = [*stages.STAGES, *(name for name in names if names.count(name) > 1)]
        for group in self.params.targets.groups:
            if group in taken:
                raise PacavitError(
                    f"params/{self.scale}/targets.yaml: groups.{group}: is the name of a stage, variant or other "
                    "target; choose another"
                )
        return [name for name in names if name != stages.ALL]

    def files(self, target: str) -> list[str]:
        """Return every file and folder that a target asks for."""
        return [
            path
            for stage, names in stages.jobs(self.params.targets, target)
            for path in stages.written(stage, self.scale, names)
        ]

    def values(self, stage: str) -> Callable[[Any], str]:
        """Return a function of a job's wildcards that gives the parameters it depends on.

        Snakemake records them, so that an edit of one of them, and of no other value, runs the job again.
        """

        def of_job(wildcards: Any) -> str:
            names = {name: wildcards[name] for name in stages.STAGES[stage].wildcards}
            if stages.name(stage, names) in bridge.stale_jobs():
                return "stale"
            return json.dumps(
                params.select(self.params, stages.STAGES[stage].params, **names), sort_keys=True
            )

        return of_job

    def log(self, stage: str) -> str:
        """Return the pattern of a stage's log."""
        names = "-".join(f"{{{name}}}" for name in stages.STAGES[stage].wildcards)
        return paths.fill(paths.LOG, job=f"{stage}/{names}" if names else stage)

    def command(self, stage: str) -> str:
        """Return a stage's command line, whose words are shown and kept in the log.

        Where Ctrl-C or a scheduler signals all processes at once, the shell and ``tee`` wait for the stage to end well.
        """
        line = paths.fill(stages.command(stage), scale=self.scale)
        for name in stages.STAGES[stage].wildcards:
            line = line.replace(f"{{{name}}}", f"{{wildcards.{name}}}")
        return f"trap : TERM; {line} 2>&1 | (trap '' TERM; exec tee -i {{log}})"


def begin(scale: str, main: bool) -> Pipeline:
    """Check the parameters and, in Snakemake's main process, let the bridge look; end with one line on a mistake."""
    if shutil.which("pacavit") is None:
        # The rules call it, and the environment that holds it is not activated.
        os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
    try:
        pipeline = Pipeline(scale)
        pipeline.parts()
        if main:
            # The terminal's handler reads it.
            logging.getLogger("snakemake.logging").info(f"Scale: {scale}", extra={"pacavit_scale": scale})
            bridge.start(scale)
    except PacavitError as error:
        sys.exit(f"pacavit: {error}")
    return pipeline
