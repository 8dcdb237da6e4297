"""Every stage of the pipeline: its command line, and the paths and parameters that determine it.

Rules under ``workflow/rules/`` take inputs, outputs and command from here; ``dvc.yaml`` states the same for
DVC, and a test compares the two. The command line runs a stage with :func:`run`.
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pacavit import files, params, paths
from pacavit.claims import published
from pacavit.data.registry import DATASETS as REGISTRY
from pacavit.errors import PacavitError
from pacavit.tracking import Run, start_run
from pacavit.training.distributed import is_main
from pacavit.training.progress import report

DATASETS = ("imagenet", "coco", "ade20k")

#: Targets beside the groups and the variants of a page.
ALL, RELEASED = "all", "evaluate_released"
#: One task alone, by target; the data set's bare name is a stage's.
TASKS = {f"only_{dataset}": dataset for dataset in DATASETS}

#: Drawn of each trained model, in the order of the page.
FIGURES = ("curve", "predictions", "clusters", "assignments", "attention")

#: Drawn over all models.
OVERVIEW = ("accuracy", "ablations", "complexity", "module")

#: How long a job waits for its work folder.
_LOCK_SECONDS = 15

#: A job's wildcards and their values.
Names = Mapping[str, str | int]


@dataclass(frozen=True)
class Stage:
    """One kind of job.

    Attributes:
        name: what Snakemake's rule and DVC's stage are called.
        wildcards: the names that tell its jobs apart, in the order of DVC's matrix; the first may be fixed.
        command: arguments of ``pacavit``, with the wildcards in braces.
        function: ``module:function`` that does the work, called with a :class:`Job`.
        inputs: patterns of what it reads, by the name under which the function finds them.
        outputs: patterns of what it writes, likewise.
        params: keys ``page:dotted.key`` of the parameters it depends on.
        gathers: stages of whose every target it reads the tables, curves, metrics and figures.
        released: it works on the authors' weights, and has jobs where they were published only.
    """

    name: str
    wildcards: tuple[str, ...]
    command: str
    function: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    params: tuple[str, ...] = ()
    gathers: tuple[str, ...] = ()
    released: bool = False


@dataclass(frozen=True)
class Job:
    """One stage with its names filled in: all that a stage's function is given."""

    stage: str
    scale: str
    names: Names
    params: params.Params
    inputs: Mapping[str, Path]
    outputs: Mapping[str, Path]
    fingerprint: str
    work: Path
    run: Run


def _archives(dataset: str) -> Stage:
    return Stage(
        name=f"archives_{dataset}",
        wildcards=(),
        command=f"archives {dataset}",
        function="pacavit.data.sources:provide",
        inputs={},
        outputs=_archive_patterns(dataset),
        params=(f"data:{dataset}.archives",),
    )


def _prepare(dataset: str) -> Stage:
    return Stage(
        name=f"prepare_{dataset}",
        wildcards=(),
        command=f"prepare {dataset}",
        function=f"pacavit.data.{dataset}:prepare",
        inputs=_archive_patterns(dataset),
        outputs={"data": _prepared(dataset)},
        params=(f"data:{dataset}.prepare",),
    )


def _archive_patterns(dataset: str) -> dict[str, str]:
    return {
        name: paths.fill(paths.ARCHIVE, dataset=dataset, file=file.name)
        for name, file in REGISTRY[dataset].files.items()
    }


def _prepared(dataset: str) -> str:
    return paths.fill(paths.PREPARED, dataset=dataset)


def _figures(dataset: str, wildcards: tuple[str, ...], command: str, pattern: str, **inputs: str) -> Stage:
    return Stage(
        name=f"figures_{dataset}",
        wildcards=wildcards,
        command=command,
        function=f"pacavit.figures.{dataset}:draw",
        inputs={"data": _prepared(dataset), **inputs},
        outputs={
            **{figure: paths.fill(pattern, file=f"{figure}.png") for figure in FIGURES},
            "view": paths.fill(pattern, file="view.json"),
        },
        params=(f"figures:{dataset}",),
    )


def _released(dataset: str, metrics: str, predictions: str, *recipe: str) -> tuple[Stage, Stage]:
    """Return the stages that fetch the authors' weights into the project's form, and measure them."""
    wildcards = ("variant", "head") if dataset == "ade20k" else ("variant",)
    options = "{variant} --head {head}" if dataset == "ade20k" else "{variant}"
    weights = paths.fill(paths.RELEASED_SEGMENTOR if dataset == "ade20k" else paths.RELEASED, dataset=dataset)
    return (
        Stage(
            name=f"released_{dataset}",
            wildcards=wildcards,
            command=f"released {dataset} {options}",
            function="pacavit.checkpoints.released:take",
            inputs={"published": paths.PUBLISHED},
            outputs={"weights": weights},
            params=("data:released",),
            released=True,
        ),
        Stage(
            name=f"evaluate_released_{dataset}",
            wildcards=wildcards,
            command=f"evaluate {dataset} {options} --released",
            function=f"pacavit.evaluation.{dataset}:evaluate",
            inputs={"data": _prepared(dataset), "weights": weights},
            outputs={"metrics": metrics, "predictions": predictions},
            params=(f"evaluate:{dataset}", *recipe),
            released=True,
        ),
    )


#: Keys of the page ``plan``.
_PLAN = (
    "processors",
    "utilisation",
    "processor",
    "count",
    "cores",
    "prepare_images_per_s",
    "worker_gigabytes",
)
_EVALUATIONS = tuple(f"evaluate_{dataset}" for dataset in DATASETS)
_FIGURES = tuple(f"figures_{dataset}" for dataset in DATASETS)
#: What ends each task.
_LAST = {
    **{dataset: (f"figures_{dataset}",) for dataset in DATASETS},
    "ade20k": ("figures_ade20k", "clusters"),
}

_STAGES = [
    *(_archives(dataset) for dataset in DATASETS),
    *(_prepare(dataset) for dataset in DATASETS),
    Stage(
        name="pretrain",
        wildcards=("variant", "seed"),
        command="pretrain {variant} --seed {seed}",
        function="pacavit.training.pretrain:pretrain",
        inputs={"data": _prepared("imagenet")},
        outputs={"weights": paths.PRETRAINED, "curve": paths.PRETRAIN_CURVE},
        params=("pretrain:recipe", "pretrain:variants.{variant}"),
    ),
    Stage(
        name="coco",
        wildcards=("variant", "seed"),
        command="coco {variant} --seed {seed}",
        function="pacavit.training.coco:finetune",
        inputs={"data": _prepared("coco"), "pretrained": paths.PRETRAINED},
        outputs={"weights": paths.DETECTOR, "curve": paths.DETECTOR_CURVE},
        params=("coco:recipe", "coco:variants.{variant}"),
    ),
    Stage(
        name="ade20k",
        wildcards=("variant", "head", "seed"),
        command="ade20k {variant} --head {head} --seed {seed}",
        function="pacavit.training.ade20k:finetune",
        inputs={"data": _prepared("ade20k"), "pretrained": paths.PRETRAINED},
        outputs={"weights": paths.SEGMENTOR, "curve": paths.SEGMENTOR_CURVE},
        params=("ade20k:recipe", "ade20k:heads.{head}", "ade20k:variants.{variant}"),
    ),
    Stage(
        name="evaluate_imagenet",
        wildcards=("variant", "seed"),
        command="evaluate imagenet {variant} --seed {seed}",
        function="pacavit.evaluation.imagenet:evaluate",
        inputs={"data": _prepared("imagenet"), "weights": paths.PRETRAINED},
        outputs={"metrics": paths.IMAGENET_METRICS, "predictions": paths.IMAGENET_PREDICTIONS},
        params=("evaluate:imagenet", "pretrain:recipe", "pretrain:variants.{variant}"),
    ),
    Stage(
        name="evaluate_coco",
        wildcards=("variant", "seed"),
        command="evaluate coco {variant} --seed {seed}",
        function="pacavit.evaluation.coco:evaluate",
        inputs={"data": _prepared("coco"), "weights": paths.DETECTOR},
        outputs={"metrics": paths.COCO_METRICS, "predictions": paths.COCO_PREDICTIONS},
        params=("evaluate:coco", "coco:recipe", "coco:variants.{variant}"),
    ),
    Stage(
        name="evaluate_ade20k",
        wildcards=("variant", "head", "seed"),
        command="evaluate ade20k {variant} --head {head} --seed {seed}",
        function="pacavit.evaluation.ade20k:evaluate",
        inputs={"data": _prepared("ade20k"), "weights": paths.SEGMENTOR},
        outputs={"metrics": paths.ADE20K_METRICS, "predictions": paths.ADE20K_PREDICTIONS},
        params=("evaluate:ade20k", "ade20k:recipe", "ade20k:heads.{head}", "ade20k:variants.{variant}"),
    ),
    _figures(
        "imagenet",
        ("variant", "seed"),
        "figures imagenet {variant} --seed {seed}",
        paths.IMAGENET_FIGURE,
        weights=paths.PRETRAINED,
        curve=paths.PRETRAIN_CURVE,
        metrics=paths.IMAGENET_METRICS,
        predictions=paths.IMAGENET_PREDICTIONS,
    ),
    _figures(
        "coco",
        ("variant", "seed"),
        "figures coco {variant} --seed {seed}",
        paths.COCO_FIGURE,
        weights=paths.DETECTOR,
        curve=paths.DETECTOR_CURVE,
        metrics=paths.COCO_METRICS,
        predictions=paths.COCO_PREDICTIONS,
    ),
    _figures(
        "ade20k",
        ("variant", "head", "seed"),
        "figures ade20k {variant} --head {head} --seed {seed}",
        paths.ADE20K_FIGURE,
        weights=paths.SEGMENTOR,
        curve=paths.SEGMENTOR_CURVE,
        metrics=paths.ADE20K_METRICS,
        predictions=paths.ADE20K_PREDICTIONS,
    ),
    Stage(
        name="clusters",
        wildcards=("variant", "head", "seed"),
        command="clusters {variant} --head {head} --seed {seed}",
        function="pacavit.interpretation.stage:measure",
        inputs={"data": _prepared("ade20k"), "weights": paths.SEGMENTOR},
        outputs={"measures": paths.CLUSTERS},
        params=("evaluate:clusters", "ade20k:recipe"),
    ),
    *_released(
        "imagenet",
        paths.RELEASED_IMAGENET_METRICS,
        paths.RELEASED_IMAGENET_PREDICTIONS,
        "pretrain:recipe",
        "pretrain:variants.{variant}",
    ),
    *_released(
        "coco",
        paths.RELEASED_COCO_METRICS,
        paths.RELEASED_COCO_PREDICTIONS,
        "coco:recipe",
        "coco:variants.{variant}",
    ),
    *_released(
        "ade20k",
        paths.RELEASED_ADE20K_METRICS,
        paths.RELEASED_ADE20K_PREDICTIONS,
        "ade20k:recipe",
        "ade20k:heads.{head}",
        "ade20k:variants.{variant}",
    ),
    Stage(
        name="complexity",
        wildcards=(),
        command="complexity",
        function="pacavit.claims.complexity:count",
        inputs={"published": paths.PUBLISHED},
        outputs={"complexity": paths.COMPLEXITY},
        params=("paper/coco:recipe.detector", "paper/ade20k:heads", "paper/ade20k:variants"),
    ),
    Stage(
        name="costs",
        wildcards=(),
        command="costs",
        function="pacavit.planning.stage:write",
        inputs={"complexity": paths.COMPLEXITY},
        outputs={"costs": paths.COSTS},
        params=(
            "paper/pretrain:recipe",
            "paper/coco:recipe",
            "paper/ade20k:recipe",
            "paper/ade20k:heads",
            "paper/ade20k:variants",
            *(f"paper/targets:{key}" for key in ("variants", "heads", "seeds", "only", "groups")),
            *(f"paper/plan:{key}" for key in _PLAN),
        ),
    ),
    Stage(
        name="claims",
        wildcards=(),
        command="claims",
        function="pacavit.claims.ledger:write",
        inputs={"published": paths.PUBLISHED, "complexity": paths.COMPLEXITY},
        outputs={
            "ledger": paths.LEDGER,
            **{
                f"{dataset}_{form}": paths.fill(paths.TABLE, dataset=dataset, form=form)
                for dataset in DATASETS
                for form in ("csv", "md")
            },
        },
        params=("claims:last_places", "claims:metrics"),
        gathers=_EVALUATIONS,
    ),
    Stage(
        name="overview",
        wildcards=(),
        command="overview",
        function="pacavit.figures.overview:write",
        inputs={"ledger": paths.LEDGER, "complexity": paths.COMPLEXITY, "benchmarks": paths.BENCHMARKS},
        outputs={
            **{
                f"{name}_{form}": paths.fill(paths.OVERVIEW, file=f"{name}.{form}")
                for name in OVERVIEW
                for form in ("png", "svg")
            },
            **{
                f"{dataset}_{form}": paths.fill(paths.OVERVIEW, file=f"{dataset}.{form}")
                for dataset in DATASETS
                for form in ("html", "md", "tex")
            },
        },
    ),
    Stage(
        name="report",
        wildcards=(),
        command="report",
        function="pacavit.figures.report:write",
        inputs={"ledger": paths.LEDGER},
        outputs={"page": paths.REPORT},
        params=("figures:report",),
        gathers=(
            *("pretrain", "coco", "ade20k"),
            *(*_EVALUATIONS, *_FIGURES, "clusters"),
            *("complexity", "costs", "claims", "overview"),
        ),
    ),
]

STAGES = {stage.name: stage for stage in _STAGES}


def command(stage: str) -> str:
    """Return the command line of a stage, with its wildcards in braces, as the rules and DVC state it."""
    return f"pacavit {STAGES[stage].command} --scale {{scale}}"


def targets(stage: str, wanted: params.TargetsPage) -> list[Names]:
    """Return the names of every job of a stage: the combinations of what its wildcards range over.

    A stage on released weights has those combinations alone that were released.
    """
    lists = {"variant": wanted.variants, "head": wanted.heads, "seed": wanted.seeds}
    spec = STAGES[stage]
    combinations = [
        dict(zip(spec.wildcards, values, strict=True))
        for values in itertools.product(*(lists[name] for name in spec.wildcards))
    ]
    if spec.released:
        known = published.checkpoints(Path(paths.PUBLISHED).resolve())
        task = stage.rpartition("_")[2]
        return [n for n in combinations if (task, n["variant"], n.get("head", "")) in known]
    return [names for names in combinations if wanted.has(names)]


def target_names(wanted: params.TargetsPage) -> list[str]:
    """Return what one can ask for by name, beside files: see :func:`jobs`."""
    return [ALL, *wanted.groups, *TASKS, RELEASED, *wanted.variants]


def jobs(wanted: params.TargetsPage, target: str = ALL) -> list[tuple[str, Names]]:
    """Return stage and names of every job of a target, in the order of the stages.

    Args:
        wanted: the page of targets.
        target: ``all``, or a part of it with all that leads to its measurements and figures: a group of variants, one
            variant, or one task (``only_coco``); ``evaluate_released`` is the authors' weights without a training.
            Ledger and page are of ``all`` alone, since they gather everything.

    Raises:
        PacavitError: no such target.
    """
    if target not in target_names(wanted):
        raise PacavitError(f"target {target!r}: unknown; choose one of {', '.join(target_names(wanted))}")
    if target in wanted.groups:
        wanted = wanted.limited_to(wanted.groups[target])
    elif target in wanted.variants:
        wanted = wanted.limited_to([target])
    chosen = _stages_of(target)
    return [(stage, names) for stage in STAGES if stage in chosen for names in targets(stage, wanted)]


def _stages_of(target: str) -> set[str]:
    if target == ALL:
        return {name for name, spec in STAGES.items() if not spec.released}
    if target == RELEASED:
        return _leading_to(f"evaluate_released_{dataset}" for dataset in DATASETS)
    if target in TASKS:
        return _leading_to(_LAST[TASKS[target]])
    return _leading_to(stage for last in _LAST.values() for stage in last)


def _leading_to(last: Iterable[str]) -> set[str]:
    """Return the given stages, and all that make what they read."""
    makers = _makers()
    found: set[str] = set()
    pending = list(last)
    while pending:
        stage = pending.pop()
        found.add(stage)
        pending += [makers[pattern] for pattern in STAGES[stage].inputs.values() if pattern in makers]
    return found


def outputs(stage: str, scale: str, wanted: params.TargetsPage) -> list[str]:
    """Return every file and folder that the jobs of a stage write."""
    return [path for names in targets(stage, wanted) for path in written(stage, scale, names)]


def written(stage: str, scale: str, names: Names) -> list[str]:
    """Return the files and folders that one job writes."""
    return [str(paths.path(p, scale=scale, **names)) for p in STAGES[stage].outputs.values()]


def gathered(stage: str, scale: str, wanted: params.TargetsPage) -> list[str]:
    """Return what a stage reads of all targets of others: their files under ``reports/``."""
    return [
        path
        for other in STAGES[stage].gathers
        for path in outputs(other, scale, wanted)
        if path.startswith("reports/")
    ]


def run(stage: str, scale: str, **names: str | int) -> None:
    """Run one job: check parameters and inputs, do the work, check the outputs, leave a mark for the bridge.

    Raises:
        PacavitError: a parameter is wrong, an input is missing, or another process runs the same job.
    """
    given = params.load(scale)
    spec = STAGES[stage]
    values = params.select(given, spec.params, **names)
    _check_inputs(stage, scale, names)
    inputs = {name: paths.path(pattern, scale=scale, **names) for name, pattern in spec.inputs.items()}
    products = {name: paths.path(pattern, scale=scale, **names) for name, pattern in spec.outputs.items()}
    complete = _check_gathered(stage, gathered(stage, scale, given.targets))
    fingerprint = _fingerprint(stage, scale, names, values, inputs)
    work = paths.path(paths.WORK, stage=stage, fingerprint=fingerprint)
    module, function = spec.function.split(":")
    with (
        locked(work),
        start_run(name(stage, names), scale, names, values, fingerprint, inputs, work) as tracked,
    ):
        job = Job(stage, scale, names, given, inputs, products, fingerprint, work, tracked)
        getattr(importlib.import_module(module), function)(job)
        missing = [str(path) for path in products.values() if is_main() and not path.exists()]
        if missing:
            raise PacavitError(f"stage {stage} ended without writing {', '.join(missing)}; this is a defect")
    if is_main() and complete:
        mark(stage, scale, names, values)


def name(stage: str, names: Names) -> str:
    """Return the name of a job as DVC writes it: ``stage@value-value``."""
    values = "-".join(str(names[wildcard]) for wildcard in STAGES[stage].wildcards)
    return f"{stage}@{values}" if values else stage


def title(stage: str, names: Names) -> str:
    """Return what people call a job: ``ade20k test_pacavit paca seed 0``."""
    values = [f"seed {names[n]}" if n == "seed" else str(names[n]) for n in STAGES[stage].wildcards]
    return " ".join([stage.replace("_", " "), *values])


def mark(stage: str, scale: str, names: Names, values: Mapping[str, Any]) -> None:
    """Leave word for the bridge that this job has run, and with which parameters."""
    job = name(stage, names)
    files.write_json(
        paths.path(paths.MARK, job=job),
        {"stage": stage, "scale": scale, "names": dict(names), "job": job, "params": dict(values)},
    )


def _check_inputs(stage: str, scale: str, names: Names) -> None:
    for pattern in STAGES[stage].inputs.values():
        path = paths.path(pattern, scale=scale, **names)
        if not path.exists():
            maker = _makers().get(pattern)
            how = f"git checkout {path}" if maker is None else command(maker).format(scale=scale, **names)
            raise PacavitError(f"{path}: missing, and stage {stage} reads it; make it with `{how}`")


def _check_gathered(stage: str, wanted: Sequence[str]) -> bool:
    """Return whether all is there that a stage gathers; say what is not, which it leaves out."""
    missing = [path for path in wanted if not Path(path).exists()]
    if missing:
        report(
            f"{stage}: {len(missing)} results of other stages are not there yet and left out, such as {missing[0]}"
        )
    return not missing


def _makers() -> dict[str, str]:
    """Return the stage that writes each output, by its pattern."""
    return {pattern: stage.name for stage in _STAGES for pattern in stage.outputs.values()}


def _fingerprint(
    stage: str, scale: str, names: Mapping[str, Any], values: Mapping[str, Any], inputs: Mapping[str, Path]
) -> str:
    """Return what tells two trainings apart: parameters, names and the content of the inputs."""
    identity = {
        "stage": stage,
        "scale": scale,
        "names": dict(names),
        "params": values,
        "inputs": {name: files.content_hash(path) for name, path in inputs.items()},
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def locked(work: Path) -> Iterator[None]:
    """Hold the work folder for one process group: a killed Snakemake may have left its job running.

    A killed job's own loading processes hold it for some seconds more, so it is worth waiting a little.

    Raises:
        PacavitError: another process goes on holding it.
    """
    if not is_main():
        yield
        return
    work.mkdir(parents=True, exist_ok=True)
    lock = FileLock(work / "lock")
    try:
        lock.acquire(timeout=_LOCK_SECONDS)
    except Timeout:
        raise PacavitError(f"{work}: another process is running this job; wait for it or end it") from None
    try:
        yield
    finally:
        lock.release()
