"""Jobs: the stages with their wildcards filled in, as the page of targets asks for them, and the files of each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pacavit import params, paths, published
from pacavit.errors import PacavitError
from pacavit.pipeline.table import STAGES, Names, Stage
from pacavit.tasks import TASKS

#: Targets beside the groups and the variants of a page.
ALL, RELEASED = "all", "evaluate_released"
#: One task alone, by target; the data set's bare name is a stage's.
ONLY = {f"only_{dataset}": dataset for dataset in TASKS}

#: What ends each task.
_LAST = {dataset: [f"figures_{dataset}", f"figures_plain_{dataset}"] for dataset in TASKS}
_LAST["ade20k"].append("clusters")


@dataclass(frozen=True)
class Ref:
    """An output of a stage."""

    stage: str
    output: str

    @property
    def pattern(self) -> str:
        return STAGES[self.stage].outputs[self.output].path


def ref(text: str) -> Ref | None:
    """Return the output that ``stage.output`` stands for; None for a file of the repository."""
    stage, _, output = text.partition(".")
    return Ref(stage, output) if stage in STAGES else None


def pattern(text: str) -> str:
    """Return the path, with wildcards in braces, of ``stage.output`` or of a file of the repository."""
    found = ref(text)
    return text if found is None else found.pattern


def path(text: str, scale: str, **names: str | int) -> Path:
    """Return the path of ``stage.output`` for a job, or of a file of the repository."""
    return paths.path(pattern(text), scale=scale, **names)


def inputs(stage: str, scale: str, names: Names) -> dict[str, Path]:
    """Return the files and folders that a job reads, but for those that it aggregates."""
    return {key: path(text, scale, **names) for key, text in STAGES[stage].inputs.items()}


def outputs(stage: str, scale: str, names: Names) -> dict[str, Path]:
    """Return the files and folders that a job writes."""
    return {
        key: paths.path(output.path, scale=scale, **names) for key, output in STAGES[stage].outputs.items()
    }


def aggregated(stage: str, scale: str, wanted: params.TargetsPage) -> dict[str, list[tuple[Names, Path]]]:
    """Return what a stage reads of every target, by ``stage.output``, each file with the wildcards of its job."""
    return {text: _of_all(text, scale, wanted) for text in STAGES[stage].aggregates}


def optional(stage: str, scale: str, wanted: params.TargetsPage) -> dict[str, list[tuple[Names, Path]]]:
    """Return what a stage reads of every target if it is there, likewise."""
    every = {text: _of_all(text, scale, wanted) for text in STAGES[stage].optional}
    return {text: [(names, path) for names, path in files if path.exists()] for text, files in every.items()}


def _of_all(text: str, scale: str, wanted: params.TargetsPage) -> list[tuple[Names, Path]]:
    return [(names, path(text, scale, **names)) for names in targets(ref(text).stage, wanted)]


def command(stage: str, scale: str = "{scale}", **names: str | int) -> str:
    """Return the command line of a stage, or of a job."""
    return paths.fill(f"pacavit {STAGES[stage].command} --scale {scale}", **names)


def names_of(stage: str, wildcards: Mapping[str, str]) -> Names:
    """Return the wildcards of a stage's job with values of their types, of which Snakemake knows text alone."""
    return {
        name: int(wildcards[name]) if name == "seed" else wildcards[name] for name in STAGES[stage].wildcards
    }


def name(stage: str, names: Names) -> str:
    """Return the name of a job as DVC writes it: ``stage@value-value``."""
    values = "-".join(str(names[wildcard]) for wildcard in STAGES[stage].wildcards)
    return f"{stage}@{values}" if values else stage


def targets(stage: str, wanted: params.TargetsPage) -> list[Names]:
    """Return the wildcards of every job of a stage: the combinations of what they range over.

    A stage on released weights has those combinations alone that were released.
    """
    spec = STAGES[stage]
    combinations = list(product(spec, wanted))
    if spec.released:
        known = published.checkpoints(Path(paths.PUBLISHED).resolve())
        task = stage.rpartition("_")[2]
        return [n for n in combinations if (task, n["variant"], n.get("head", "")) in known]
    return [names for names in combinations if _exists(spec, wanted, names)]


def _exists(spec: Stage, wanted: params.TargetsPage, names: Names) -> bool:
    """Return whether a stage has a job of these names: by the variant's heads, and by whether it has clusters."""
    if "variant" not in names:
        return True
    clusters = wanted.model(str(names["variant"])).has_clusters
    return spec.clusters in (None, clusters) and wanted.has(names)


def product(spec: Stage, wanted: params.TargetsPage) -> Iterator[dict[str, str | int]]:
    """Yield all combinations of the values of a stage's wildcards, wanted or not."""
    lists = {"variant": wanted.variants, "head": wanted.heads, "seed": wanted.seeds}
    for values in itertools.product(*(lists[name] for name in spec.wildcards)):
        yield dict(zip(spec.wildcards, values, strict=True))


def target_names(wanted: params.TargetsPage) -> list[str]:
    """Return what one can ask for by name, beside files: see :func:`jobs`."""
    return [ALL, *wanted.groups, *ONLY, RELEASED, *wanted.every]


def jobs(wanted: params.TargetsPage, target: str = ALL) -> list[tuple[str, Names]]:
    """Return stage and wildcards of every job of a target, in the order of the stages.

    Args:
        wanted: the page of targets.
        target: ``all``; or, with all that leads to its measurements and figures, a group of variants, one variant, or
            one task (``only_coco``), the first two of which may be others than those of ``all``; ``evaluate_released``
            is the authors' weights without a training. Ledger and page are of ``all`` alone, since they aggregate
            everything.

    Raises:
        PacavitError: no such target.
    """
    if target not in target_names(wanted):
        raise PacavitError(f"target {target!r}: unknown; choose one of {', '.join(target_names(wanted))}")
    if target in wanted.groups:
        wanted = wanted.limited_to(wanted.groups[target])
    elif target in wanted.every:
        wanted = wanted.limited_to([target])
    chosen = _stages_of(target)
    return [(stage, names) for stage in STAGES if stage in chosen for names in targets(stage, wanted)]


def optional_jobs(wanted: params.TargetsPage) -> list[tuple[str, Names]]:
    """Return the jobs of the variants that ``all`` leaves out."""
    jobs_of = jobs(wanted.limited_to(wanted.optional), ALL)
    return [(stage, names) for stage, names in jobs_of if "variant" in names]


def upstream(stage: str) -> set[str]:
    """Return the stages whose outputs a stage reads."""
    texts = (*STAGES[stage].inputs.values(), *STAGES[stage].aggregates)
    return {found.stage for text in texts if (found := ref(text)) is not None}


def _stages_of(target: str) -> set[str]:
    if target == ALL:
        return {name for name, spec in STAGES.items() if not spec.released}
    if target == RELEASED:
        return _leading_to(f"evaluate_released_{dataset}" for dataset in TASKS)
    if target in ONLY:
        return _leading_to(_LAST[ONLY[target]])
    return _leading_to(stage for last in _LAST.values() for stage in last)


def _leading_to(last: Iterable[str]) -> set[str]:
    """Return the given stages, and all that make what they read."""
    found: set[str] = set()
    pending = list(last)
    while pending:
        stage = pending.pop()
        found.add(stage)
        pending += upstream(stage)
    return found
