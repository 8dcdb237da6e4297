"""What Snakemake's rules take from the table of stages, at one scale.

Which jobs run follows from :mod:`pacavit.pipeline.records` alone: a rule's inputs are ``ancient``, and a job that is to
run again has a file more, newer than its outputs, that says why. Times of files and Snakemake's own records decide
nothing, so that they may be lost.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from snakemake.settings.enums import RerunTrigger

from pacavit import params, paths
from pacavit.data.protection import require_all_apart, require_all_replaceable
from pacavit.errors import PacavitError
from pacavit.files import atomic_file
from pacavit.pipeline import cache, dvc, models, profile, targets
from pacavit.pipeline.records import Records, forget
from pacavit.pipeline.sources import Sources
from pacavit.pipeline.table import STAGES, Names
from pacavit.runtime import environment

_LOCKS = Path(".snakemake/locks")
#: Of Snakemake's --config and --configfile.
_CONFIG_KEY = "scale"


class Pipeline:
    """The stages at one scale, with checked parameters.

    Args:
        scale: folder below ``params/``.
        workflow: Snakemake's, which knows when the graph is built how it was called.

    Raises:
        PacavitError: a parameter is wrong.
    """

    def __init__(self, scale: str, workflow: Any = None) -> None:
        self.scale = scale
        self.params = params.load(scale)
        self._workflow = workflow
        self._sources = Sources(scale, self.params)
        self._records: Records | None = None

    @property
    def records(self) -> Records:
        """How each job stands; looked up once, when the graph is built."""
        if self._records is None:
            self._records = self._look(self._is_forced)
            if self._workflow is not None:
                self._begin()
        return self._records

    def _look(self, forced: Callable[[str, Names], bool] = lambda stage, names: False) -> Records:
        lock = dvc.Lock(self.scale, self.params)
        return Records(self.scale, self.params, lock.outputs, forced, self._sources)

    def _begin(self) -> None:
        """Take from DVC's cache what it has of jobs whose outputs are gone or others, and let DVC know the rest."""
        # The rest of Snakemake's triggers go by its own records.
        self._workflow.dag_settings.rerun_triggers = frozenset({RerunTrigger.MTIME})
        runs = self._workflow.executor_plugin is not None and not self._workflow.dryrun
        if not runs or (_LOCKS.is_dir() and any(_LOCKS.iterdir())):
            return  # nothing is to be written, or another Snakemake is at work
        for stage, names in self._jobs():
            if self._is_forced(stage, names):
                forget(stage, self.scale, names)
        absent = [
            status.outputs
            for stage, names in self._jobs()
            if (status := self._records.status(stage, names)).state == "absent"
            and not STAGES[stage].disposable
        ]
        restored = [cache.put_back(outputs) for outputs in absent]
        if any(restored):
            self._records = self._look(self._is_forced)
        dvc.commit(self.scale, self.params, self._records, self._jobs())

    def finish(self) -> None:
        """Let DVC know what is up to date."""
        dvc.commit(self.scale, self.params, self._look(), self._jobs())

    def input(self, stage: str, ancient: Callable[[str], str]) -> dict[str, Callable[[Any], list[str]]]:
        """Return what a rule reads, by name, as functions of a job's wildcards; ``again`` makes the job run again.

        Args:
            stage: whose rule.
            ancient: Snakemake's mark of a file whose time decides nothing. One that is to be made anew does not get it,
                so that what reads it follows.
        """

        def one(text: str, names: Names) -> str:
            path = str(targets.path(text, self.scale, **names))
            source = targets.ref(text)
            if source is None or not self._decides or not self._is_stale(source.stage, names):
                return ancient(path)
            return path

        def several(text: str) -> list[str]:
            stage = targets.ref(text).stage
            return [one(text, names) for names in targets.targets(stage, self.params.targets)]

        spec = STAGES[stage]
        found = {key: self._of_job(stage, partial(one, text)) for key, text in spec.inputs.items()}
        if spec.aggregates:
            found["aggregated"] = lambda wildcards: [
                path for text in spec.aggregates for path in several(text)
            ]
        # What is read if it is there is not made for it, and so is no input to Snakemake.
        return {**found, "again": self._of_job(stage, partial(self._again, stage))}

    def output(
        self, stage: str, report: Callable[..., Any], directory: Callable[[str], Any]
    ) -> dict[str, Any]:
        """Return what a rule writes, with what Snakemake's report says of it."""
        found = {}
        for key, output in STAGES[stage].outputs.items():
            path = self._fill(output.path)
            if output.kind == "folder":
                found[key] = directory(path)
            elif output.caption is None:
                found[key] = path
            else:
                shown = {"category": output.category, "subcategory": output.subcategory}
                found[key] = report(path, caption=f"../report/{output.caption}", **shown)
        return found

    def log(self, stage: str) -> str:
        """Return the pattern of a stage's log."""
        names = "-".join(f"{{{wildcard}}}" for wildcard in STAGES[stage].wildcards)
        return paths.fill(paths.LOG, scale=self.scale, job=f"{stage}/{names}" if names else stage)

    def command(self, stage: str) -> Callable[[Any], str]:
        """Return a function of a job's wildcards that gives its command line."""
        return self._of_job(stage, lambda names: targets.command(stage, self.scale, **names))

    def parts(self) -> list[str]:
        """Return what one can ask for by name, beside files and everything.

        Raises:
            PacavitError: a group has a name that is taken.
        """
        names = targets.target_names(self.params.targets)
        taken = [*STAGES, *(name for name in names if names.count(name) > 1)]
        for group in self.params.targets.groups:
            if group in taken:
                raise PacavitError(
                    f"params/{self.scale}/targets.yaml: groups.{group}: is the name of a stage, variant or other "
                    "target; choose another"
                )
        return [name for name in names if name != targets.ALL]

    def files(self, target: str) -> Callable[[Any], list[str]]:
        """Return a function that gives every file and folder that a target asks for.

        Archives that were deleted once all was made from them are not asked for.
        """

        def files() -> list[str]:
            jobs = targets.jobs(self.params.targets, target)
            models.require(self.params, jobs)
            return [
                str(path)
                for stage, names in jobs
                for path in targets.outputs(stage, self.scale, names).values()
                if path.exists() or self._is_stale(stage, names)
            ]

        return lambda wildcards: _or_exit(files)

    def _jobs(self) -> list[tuple[str, Names]]:
        """Return the jobs whose results are kept in step with DVC: those of variants left out, once they have run."""
        wanted = self.params.targets
        optional = [
            (stage, names)
            for stage, names in targets.optional_jobs(wanted)
            if any(path.exists() for path in targets.outputs(stage, self.scale, names).values())
        ]
        return [*targets.jobs(wanted), *targets.jobs(wanted, targets.RELEASED), *optional]

    @property
    def _decides(self) -> bool:
        """Whether this process decides what runs, and is not one that Snakemake has started for a job."""
        return self._workflow is None or self._workflow.is_main_process

    def _is_stale(self, stage: str, names: Names) -> bool:
        own = {wildcard: names[wildcard] for wildcard in STAGES[stage].wildcards}
        status = self.records.status(stage, own)
        gone = status.state == "absent" and not STAGES[stage].disposable
        # A run has put back what it could; a dry run does not.
        dry = self._workflow is None or self._workflow.dryrun
        return status.state == "stale" or (gone and not (dry and cache.can_put_back(status.outputs)))

    def _is_forced(self, stage: str, names: Names) -> bool:
        """Return whether a job is to run whatever its record says: what reads its files follows, if they change."""
        if self._workflow is None:
            return False
        settings = self._workflow.dag_settings
        written = targets.outputs(stage, self.scale, names).values()
        return (
            settings.forceall
            or stage in settings.forcerun
            or any(str(path) in settings.forcerun for path in written)
        )

    def _again(self, stage: str, names: Names) -> list[str]:
        """Return the file that makes a job run again, if it is to."""
        if not self._decides or not self._is_stale(stage, names):
            return []
        path = Path("work/again", self.scale, targets.name(stage, names))
        with atomic_file(path) as temporary:
            # Snakemake passes over a newer file of the content that it knows.
            temporary.write_text(f"{self.records.status(stage, names).reason}\n{time.time_ns()}\n")
        return [str(path)]

    def _of_job(self, stage: str, of_names: Callable[[Names], Any]) -> Callable[[Any], Any]:
        """Return a function of a job's wildcards; a mistake ends with one line."""

        return lambda wildcards: _or_exit(lambda: of_names(targets.names_of(stage, wildcards)))

    def _fill(self, text: str) -> str:
        return paths.fill(text, scale=self.scale)


def _or_exit(of: Callable[[], Any]) -> Any:
    """Return what a function gives; end with one line on a mistake."""
    try:
        return of()
    except PacavitError as error:
        sys.exit(f"pacavit: {error}")


def scale_of(config: Mapping[str, Any]) -> str:
    """Return the scale that Snakemake's configuration asks for.

    Raises:
        PacavitError: it holds another key, which would have no effect.
    """
    for key in config:
        if key != _CONFIG_KEY:
            near = get_close_matches(str(key).lower(), [_CONFIG_KEY], n=1)
            hint = f"did you mean {_CONFIG_KEY!r}?" if near else "parameters are edited in params/<scale>/"
            raise PacavitError(f"--config {key}={config[key]}: unknown key; expected {_CONFIG_KEY}; {hint}")
    return str(config.get(_CONFIG_KEY, params.DEFAULT_SCALE))


def begin(config: Mapping[str, Any], workflow: Any) -> Pipeline:
    """Check Snakemake's configuration and the parameters; end with one line on a mistake."""
    if shutil.which("pacavit") is None:
        # The rules call it, and the environment that holds it is not activated.
        os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
    try:
        environment.check()
        scale = scale_of(config)
        if workflow.is_main_process:
            profile.check(sys.argv[1:])
        pipeline = Pipeline(scale, workflow)
        require_all_apart(scale, pipeline.params.data)
        if workflow.is_main_process:  # the others begin while it replaces such folders
            require_all_replaceable(scale)
        pipeline.parts()
        reason = dvc.why_not()
        if reason is None and workflow.is_main_process:
            dvc.check_lock(scale)
    except PacavitError as error:
        sys.exit(f"pacavit: {error}")
    if workflow.is_main_process:
        logger = logging.getLogger("snakemake.logging")
        # The terminal's handler reads it.
        logger.info(f"Scale: {scale}", extra={"pacavit_scale": scale})
        if reason is not None:
            logger.warning(f"DVC versions nothing here: {reason}")
    return pipeline
