"""Every stage of the pipeline, stated once: what it runs, reads, writes and depends on.

Snakemake's rules (:mod:`pacavit.pipeline.rules`), ``dvc.yaml`` (:mod:`pacavit.pipeline.dvc`) and the command line
(:func:`pacavit.pipeline.run.run`) are made from this table. ``pacavit stages`` prints it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pacavit import paths
from pacavit.data.registry import DATASETS
from pacavit.tasks import TASKS, Task

#: Drawn of each trained model, in the order of the page, with the category in Snakemake's report. The caption of
#: each, on the page and in that report, is ``workflow/report/NAME.rst``.
FIGURES = {
    "curve": "Learning curves",
    "predictions": "Predictions",
    "clusters": "Clusters",
    "assignments": "Clusters",
    "attention": "Clusters",
}

#: Those of a model without clusters.
PLAIN_FIGURES = ("curve", "predictions")

#: Drawn over all models.
OVERVIEW = ("accuracy", "ablations", "complexity", "module")

#: A job's wildcards and their values.
Names = Mapping[str, str | int]


@dataclass(frozen=True)
class Output:
    """What a stage writes.

    Attributes:
        path: pattern with ``{scale}`` and the stage's wildcards in braces.
        kind: ``cached`` files are DVC's; ``text``, ``metrics`` and ``curve`` are small and belong to Git; ``folder``
            is a cached folder.
        caption: file below ``workflow/report/`` that explains it in Snakemake's report.
        category, subcategory: where it stands there.
    """

    path: str
    kind: Literal["cached", "text", "metrics", "curve", "folder"] = "cached"
    caption: str | None = None
    category: str | None = None
    subcategory: str | None = None


@dataclass(frozen=True)
class Stage:
    """One kind of job.

    Attributes:
        name: of Snakemake's rule and DVC's stage.
        command: arguments of ``pacavit``, with the wildcards in braces.
        function: ``module:function`` that does the work, called with a :class:`~pacavit.job.Job`. The modules
            of this package that its module imports are the code that the stage depends on.
        inputs: what it reads, by the name under which the function finds it: ``stage.output``, or a file of the
            repository.
        outputs: what it writes, likewise.
        wildcards: the names that tell its jobs apart, in the order of DVC's matrix.
        params: keys ``page:dotted.key`` of the parameters it depends on, as of :func:`pacavit.params.select`.
        aggregates: outputs ``stage.output`` of which it reads those of every target.
        optional: likewise, as far as they are there.
        code: further modules that the function imports by name, and folders of templates, as modules are written.
        threads, mem_mb: of Snakemake.
        priority: of Snakemake, between jobs that are ready.
        disposable: its outputs may be deleted once all that reads them is made.
        source: section of the page ``data`` that names files of the user's which it reads.
        released: it works on the authors' weights, and has jobs where they were published only.
        clusters: True for one that has jobs for variants with clusters only, False for the others only, None for all.
    """

    name: str
    command: str
    function: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, Output]
    wildcards: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    aggregates: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    threads: int = 1
    mem_mb: int = 2000
    priority: int = 0
    disposable: bool = False
    source: str | None = None
    released: bool = False
    clusters: bool | None = None


def _options(wildcards: tuple[str, ...]) -> str:
    """Return the arguments of a command that name a model."""
    return " ".join(f"{{{name}}}" if name == "variant" else f"--{name} {{{name}}}" for name in wildcards)


def _place(wildcards: tuple[str, ...]) -> str:
    """Return where the results of a model stand below a folder, without the ending."""
    return "/".join(f"seed{{{name}}}" if name == "seed" else f"{{{name}}}" for name in wildcards)


def _recipe(task: Task) -> tuple[str, ...]:
    heads = (f"{task.training}:heads.{{head}}",) if task.has_heads else ()
    return (f"{task.training}:recipe", *heads, f"{task.training}:variants.{{variant}}")


# Data are made and checked by as many processes; Snakemake gives a rule no more than there are cores.
_PROCESSES = 8
# Trainings wait for data, and the end waits for trainings more than for what evaluates and draws.
_FIRST, _EARLY = 2, 1


def _archives(dataset: str) -> Stage:
    return Stage(
        name=f"archives_{dataset}",
        command=f"archives {dataset}",
        function="pacavit.data.sources:provide",
        inputs={},
        outputs={
            name: Output(f"{paths.fill(paths.ARCHIVES, dataset=dataset)}/{file.name}")
            for name, file in DATASETS[dataset].files.items()
        },
        params=(f"data:{dataset}.archives",),
        code=(f"pacavit.data.miniatures.{dataset}", f"pacavit.data.folders.{dataset}"),
        threads=_PROCESSES,
        priority=_FIRST,
        disposable=True,
        source=dataset,
    )


def _prepare(dataset: str) -> Stage:
    return Stage(
        name=f"prepare_{dataset}",
        command=f"prepare {dataset}",
        function=f"pacavit.data.{dataset}:prepare",
        inputs={name: f"archives_{dataset}.{name}" for name in DATASETS[dataset].files},
        outputs={"data": Output(paths.fill(paths.PREPARED, dataset=dataset), "folder")},
        params=(f"data:{dataset}.prepare", f"data:{dataset}.archives.kind"),
        threads=_PROCESSES,
        priority=_FIRST,
    )


def _training(task: Task, function: str, inputs: Mapping[str, str], **options) -> Stage:
    name = task.training
    return Stage(
        name=name,
        command=f"{name} {_options(task.wildcards)}",
        function=function,
        inputs={"data": f"prepare_{task.name}.data", **inputs},
        outputs={
            "weights": Output(f"checkpoints/{{scale}}/{name}/{_place(task.wildcards)}.safetensors"),
            "curve": Output(f"reports/{{scale}}/curves/{name}/{_place(task.wildcards)}.csv", "curve"),
        },
        wildcards=task.wildcards,
        mem_mb=4000,
        priority=_EARLY,
        **options,
    )


def _evaluation(task: Task, released: bool = False) -> Stage:
    """Return the stage that measures trained weights, or the authors'."""
    wildcards = _released_wildcards(task) if released else task.wildcards
    kind, option = ("released_", " --released") if released else ("", "")
    place = f"{'released/' if released else ''}{task.name}/{_place(wildcards)}"
    shown = ("released.rst", "Released weights") if released else ("metrics.rst", "Metrics")
    return Stage(
        name=f"evaluate_{kind}{task.name}",
        command=f"evaluate {task.name} {_options(wildcards)}{option}",
        function=f"pacavit.evaluation.{task.name}:evaluate",
        inputs={
            "data": f"prepare_{task.name}.data",
            "weights": f"{f'released_{task.name}' if released else task.training}.weights",
        },
        outputs={
            "metrics": Output(f"reports/{{scale}}/metrics/{place}.json", "metrics", *shown, task.name),
            "predictions": Output(f"predictions/{{scale}}/{place}.{task.predictions}"),
        },
        wildcards=wildcards,
        params=(f"evaluate:{task.name}", *_recipe(task)),
        mem_mb=4000,
        released=released,
    )


def _figures(task: Task, clusters: bool) -> Stage:
    """Return the stage that draws the figures of variants with clusters, or of those without."""
    training, evaluation = task.training, f"evaluate_{task.name}"
    place = f"reports/{{scale}}/figures/{task.name}/{_place(task.wildcards)}{'' if clusters else '/plain'}"
    kind, function = ("", "draw") if clusters else ("plain_", "draw_plain")
    figures = FIGURES if clusters else PLAIN_FIGURES
    return Stage(
        name=f"figures_{kind}{task.name}",
        command=f"figures {task.name} {_options(task.wildcards)}",
        function=f"pacavit.figures.{task.name}:{function}",
        inputs={
            "data": f"prepare_{task.name}.data",
            **({"weights": f"{training}.weights"} if clusters else {}),
            "curve": f"{training}.curve",
            "metrics": f"{evaluation}.metrics",
            "predictions": f"{evaluation}.predictions",
        },
        outputs={
            **{
                name: Output(f"{place}/{name}.png", "cached", f"{name}.rst", FIGURES[name], task.name)
                for name in figures
            },
            **({"view": Output(f"{place}/view.json")} if clusters else {}),
        },
        wildcards=task.wildcards,
        params=(f"figures:{task.name}",),
        clusters=clusters,
    )


def _released(task: Task) -> Stage:
    """Return the stage that brings the authors' weights into the project's form."""
    wildcards = _released_wildcards(task)
    return Stage(
        name=f"released_{task.name}",
        command=f"released {task.name} {_options(wildcards)}",
        function="pacavit.checkpoints.released:take",
        inputs={"published": paths.PUBLISHED},
        outputs={
            "weights": Output(f"checkpoints/{{scale}}/released/{task.name}/{_place(wildcards)}.safetensors")
        },
        wildcards=wildcards,
        params=("data:released",),
        mem_mb=4000,
        source="released",
        released=True,
    )


def _released_wildcards(task: Task) -> tuple[str, ...]:
    return tuple(name for name in task.wildcards if name != "seed")


def _validated(task: Task) -> tuple[str, ...]:
    """Return the parameters of a training's validations."""
    return (f"evaluate:{task.name}.batch_size", f"evaluate:{task.name}.workers")


_IMAGENET, _COCO, _ADE20K = TASKS.values()

_STAGES = [
    *(_archives(dataset) for dataset in TASKS),
    *(_prepare(dataset) for dataset in TASKS),
    _training(_IMAGENET, "pacavit.training.pretrain:pretrain", {}, params=_recipe(_IMAGENET), threads=2),
    _training(
        _COCO,
        "pacavit.training.coco:finetune",
        {"pretrained": "pretrain.weights"},
        params=(*_recipe(_COCO), *_validated(_COCO)),
    ),
    _training(
        _ADE20K,
        "pacavit.training.ade20k:finetune",
        {"pretrained": "pretrain.weights"},
        params=(*_recipe(_ADE20K), *_validated(_ADE20K)),
    ),
    *(_evaluation(task) for task in TASKS.values()),
    *(_figures(task, clusters=True) for task in TASKS.values()),
    *(_figures(task, clusters=False) for task in TASKS.values()),
    Stage(
        name="clusters",
        command=f"clusters {_options(_ADE20K.wildcards)}",
        function="pacavit.interpretation.stage:measure",
        inputs={"data": "prepare_ade20k.data", "weights": "ade20k.weights"},
        outputs={
            "measures": Output(
                f"reports/{{scale}}/clusters/{_place(_ADE20K.wildcards)}.json",
                *("cached", "measures.rst", "Clusters", "ade20k"),
            )
        },
        wildcards=_ADE20K.wildcards,
        params=("evaluate:clusters", "ade20k:recipe"),
        mem_mb=4000,
        clusters=True,
    ),
    *(stage for task in TASKS.values() for stage in (_released(task), _evaluation(task, released=True))),
    Stage(
        name="complexity",
        command="complexity",
        function="pacavit.claims.complexity:count",
        inputs={"published": paths.PUBLISHED},
        outputs={"complexity": Output("reports/{scale}/claims/complexity.json", "text")},
        params=(
            "paper/coco:recipe.detector",
            "paper/ade20k:recipe.crop",
            "paper/ade20k:heads",
            "paper/ade20k:variants",
        ),
        mem_mb=3000,
    ),
    Stage(
        name="costs",
        command="costs",
        function="pacavit.planning.stage:write",
        inputs={"complexity": "complexity.complexity"},
        outputs={"costs": Output("reports/{scale}/claims/costs.json", "text")},
        params=(
            *(f"paper/data:{dataset}.archives" for dataset in TASKS),
            "paper/pretrain:recipe",
            "paper/coco:recipe",
            "paper/ade20k:recipe",
            "paper/ade20k:heads",
            "paper/ade20k:variants",
            "paper/targets:",
            "paper/plan:",
        ),
    ),
    Stage(
        name="claims",
        command="claims",
        function="pacavit.claims.ledger:write",
        inputs={"published": paths.PUBLISHED, "complexity": "complexity.complexity"},
        outputs={
            "ledger": Output("reports/{scale}/claims/ledger.csv", "text", "claims.rst", "Published numbers"),
            **{
                f"{dataset}_{form}": Output(
                    f"reports/{{scale}}/tables/{dataset}.{form}", "text", "tables.rst", "Result tables"
                )
                for dataset in TASKS
                for form in ("csv", "md")
            },
        },
        params=("claims:last_places", "claims:metrics", "targets:"),
        aggregates=tuple(f"evaluate_{dataset}.metrics" for dataset in TASKS),
        optional=tuple(f"evaluate_released_{dataset}.metrics" for dataset in TASKS),
    ),
    Stage(
        name="overview",
        command="overview",
        function="pacavit.figures.overview:write",
        inputs={
            "ledger": "claims.ledger",
            "complexity": "complexity.complexity",
            "benchmarks": paths.BENCHMARKS,
        },
        outputs={
            f"{name}_{form}": Output(
                f"reports/{{scale}}/overview/{name}.{form}", "cached", "overview.rst", "Overview"
            )
            for names, forms in ((OVERVIEW, ("png", "svg")), (TASKS, ("html", "md", "tex")))
            for name in names
            for form in forms
        },
    ),
    Stage(
        name="report",
        command="report",
        function="pacavit.figures.report:write",
        inputs={
            "ledger": "claims.ledger",
            "published": paths.PUBLISHED,  # says how many jobs the authors' weights have
            **{f"{dataset}_table": f"claims.{dataset}_csv" for dataset in TASKS},
            **{name: f"overview.{name}_png" for name in OVERVIEW},
            **{f"{name}_caption": f"workflow/report/{name}.rst" for name in FIGURES},
        },
        outputs={"page": Output("reports/{scale}/index.html", "cached", "page.rst", "Report")},
        code=("pacavit.figures.page",),
        params=("figures:report", "targets:"),
        aggregates=(
            *(f"{task.training}.curve" for task in TASKS.values()),
            *(f"evaluate_{dataset}.metrics" for dataset in TASKS),
            *(f"figures_{dataset}.{name}" for dataset in TASKS for name in (*FIGURES, "view")),
            *(f"figures_plain_{dataset}.{name}" for dataset in TASKS for name in PLAIN_FIGURES),
            "clusters.measures",
        ),
    ),
]

STAGES = {stage.name: stage for stage in _STAGES}
