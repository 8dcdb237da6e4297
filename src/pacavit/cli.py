"""The ``pacavit`` command line: a command for each stage, all over :func:`pacavit.pipeline.run.run`, and tools."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pacavit import __version__, tasks
from pacavit.errors import PacavitError


class UserPath(click.Path):
    """A path relative to the folder in which the user typed it, for the project's root as the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Path:
        path = Path(super().convert(value, param, context))
        folder = None if context is None else context.find_object(Path)
        return path if folder is None or path.is_absolute() else Path(os.path.relpath(folder / path))


PATH = UserPath()
DATASETS = click.Choice(list(tasks.TASKS))
HEADS = click.Choice(tasks.HEADS)

scale_option = click.option(
    "--scale", default="mini", show_default=True, help="Folder under params/ to take the parameters from."
)
seed_option = click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Random seed."
)
head_option = click.option("--head", type=HEADS, default="paca", show_default=True, help="Segmentation head.")
variant_argument = click.argument("variant")


def _run(stage: str, scale: str, **names: str | int) -> None:
    from pacavit.pipeline.run import restore, run

    if not restore(stage, scale, **names):
        run(stage, scale, **names)


def _train(stage: str, scale: str, **names: str | int) -> None:
    """Run a training, on all GPUs of this machine or of a Slurm job's nodes."""
    from pacavit.pipeline.run import restore, run
    from pacavit.runtime.distributed import is_first, launch

    if is_first() and restore(stage, scale, **names):
        return
    code = launch(sys.argv[1:])
    if code is None:
        run(stage, scale, **names)
    elif code:
        sys.exit(code)


class _Cli(click.Group):
    """The commands of this module, and one for every other stage whose command begins with its name."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EOFError as error:
            # click takes it for the end of what a user types, and says "Aborted!" of a file that is cut short.
            raise RuntimeError(f"EOFError: {error}") from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        from pacavit.pipeline.table import STAGES

        others = (name for name, spec in STAGES.items() if spec.command.split()[0] == name)
        return sorted({*super().list_commands(ctx), *others})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        found = super().get_command(ctx, name)
        return _stage_command(name) if found is None and name in self.list_commands(ctx) else found


def _stage_command(stage: str) -> click.Command:
    """Return a command with an argument and options for the wildcards of a stage."""
    from pacavit.pipeline.table import STAGES

    spec = STAGES[stage]
    parameters = {
        "variant": variant_argument,
        "head": head_option,
        "seed": seed_option,
        "scale": scale_option,
    }

    def callback(**names: str | int) -> None:
        _run(stage, **names)

    for name in reversed((*spec.wildcards, "scale")):
        callback = parameters[name](callback)
    return click.command(stage, help=f"Run {spec.function}.")(callback)


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.pass_context
def cli(context: click.Context) -> None:
    """PaCa-ViT reproduced end to end.

    A command is one stage of the pipeline, run from the project's root or a folder below it; `snakemake --cores all`
    runs them all in order. Beside them, `predict` takes images of your own, `checkpoint` reads and writes files of
    weights, and `sync` serves MLflow.
    """
    from pacavit import paths

    root = paths.project_root()
    if root is not None and not root.samefile(here := Path.cwd()):
        context.obj = here
        os.chdir(root)


@cli.command()
@click.argument("dataset", type=DATASETS)
@scale_option
def archives(dataset: str, scale: str) -> None:
    """Make the miniature archives of DATASET, or check that your own are there."""
    _run(f"archives_{dataset}", scale)


@cli.command()
@click.argument("dataset", type=DATASETS)
@scale_option
def prepare(dataset: str, scale: str) -> None:
    """Unpack and check the archives of DATASET into the form that training reads."""
    _run(f"prepare_{dataset}", scale)


@cli.command()
@variant_argument
@seed_option
@scale_option
def pretrain(variant: str, seed: int, scale: str) -> None:
    """Train VARIANT to classify."""
    _train("pretrain", scale, variant=variant, seed=seed)


@cli.command()
@variant_argument
@seed_option
@scale_option
def coco(variant: str, seed: int, scale: str) -> None:
    """Fine-tune Mask R-CNN on the pretrained VARIANT."""
    _train("coco", scale, variant=variant, seed=seed)


@cli.command()
@variant_argument
@head_option
@seed_option
@scale_option
def ade20k(variant: str, head: str, seed: int, scale: str) -> None:
    """Fine-tune semantic segmentation on the pretrained VARIANT."""
    _train("ade20k", scale, variant=variant, head=head, seed=seed)


def _task(stage: str, dataset: str, scale: str, variant: str, head: str | None, **seed: int) -> None:
    names: dict[str, str | int] = {"variant": variant, **seed}
    if dataset == "ade20k":
        names["head"] = head or "paca"
    elif head is not None:
        raise click.UsageError(f"--head is for ade20k; {dataset} has one model only")
    _run(f"{stage}_{dataset}", scale, **names)


@cli.command()
@click.argument("dataset", type=DATASETS)
@variant_argument
@click.option("--head", type=HEADS, help="Segmentation head, for ade20k only.")
@seed_option
@click.option("--released", is_flag=True, help="Measure the authors' weights, which `released` took in.")
@scale_option
def evaluate(dataset: str, variant: str, head: str | None, seed: int, released: bool, scale: str) -> None:
    """Measure trained VARIANT on the validation images of DATASET, beside the same model untrained."""
    if released:
        if click.get_current_context().get_parameter_source("seed") is ParameterSource.COMMANDLINE:
            raise click.UsageError("--seed is for models trained here; the released weights are one training")
        _task("evaluate_released", dataset, scale, variant, head)
    else:
        _task("evaluate", dataset, scale, variant, head, seed=seed)


@cli.command()
@click.argument("dataset", type=DATASETS)
@variant_argument
@click.option("--head", type=HEADS, help="Segmentation head, for ade20k only.")
@scale_option
def released(dataset: str, variant: str, head: str | None, scale: str) -> None:
    """Take in the weights that the authors published of VARIANT on DATASET, from your folder of them."""
    _task("released", dataset, scale, variant, head)


@cli.command()
@click.argument("dataset", type=DATASETS)
@variant_argument
@click.option("--head", type=HEADS, help="Segmentation head, for ade20k only.")
@seed_option
@scale_option
def figures(dataset: str, variant: str, head: str | None, seed: int, scale: str) -> None:
    """Draw the learning curve, predictions and clusters of VARIANT on DATASET."""
    from pacavit import params

    kind = "figures" if params.load(scale).targets.model(variant).has_clusters else "figures_plain"
    _task(kind, dataset, scale, variant, head, seed=seed)


@cli.command()
@variant_argument
@head_option
@seed_option
@scale_option
def clusters(variant: str, head: str, seed: int, scale: str) -> None:
    """Measure how the clusters of a segmentor agree with labels, and how stable they are."""
    _run("clusters", scale, variant=variant, head=head, seed=seed)


@cli.command()
@scale_option
def overview(scale: str) -> None:
    """Draw the paper's figures over all models, and write its tables."""
    _run("overview", scale)


@cli.command()
@click.argument("task", type=DATASETS)
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option("--weights", type=PATH, required=True, help="File of trained weights.")
@click.option("--model", "variant", metavar="VARIANT", required=True, help="Variant that the weights are of.")
@click.option(
    "--head", type=HEADS, help="Segmentation head, for ade20k only.  [default: that of the weights]"
)
@click.option(
    "--classes",
    type=PATH,
    help="Text with a class name a line.  [default: those of the prepared data set]",
)
@click.option(
    "--top", type=click.IntRange(1), default=5, show_default=True, help="Classes to name, for imagenet only."
)
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Score above which an object counts, for coco only.",
)
@click.option("--to", "target", type=PATH, required=True, help="Folder to write into.")
@scale_option
def predict(
    task: str,
    images: tuple[Path, ...],
    weights: Path,
    variant: str,
    head: str | None,
    classes: Path | None,
    top: int,
    min_score: float,
    target: Path,
    scale: str,
) -> None:
    """Draw on IMAGES, files or folders of them, what trained weights of TASK find there.

    A picture of each and predictions.json go into the folder of --to.
    """
    for option, only in (("head", "ade20k"), ("top", "imagenet"), ("min_score", "coco")):
        source = click.get_current_context().get_parameter_source(option)
        if task != only and source is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{option.replace('_', '-')} is for {only}; {task} has no use for it")
    from pacavit.prediction.run import predict

    click.echo(predict(task, images, weights, variant, target, head, scale, classes, top, min_score))


@cli.command()
@scale_option
def complexity(scale: str) -> None:
    """Count parameters and multiply-adds of every published model; needs no data."""
    _run("complexity", scale)


@cli.command()
@scale_option
def claims(scale: str) -> None:
    """Set every published number beside the one measured here, with a verdict."""
    _run("claims", scale)


@cli.command()
@scale_option
def report(scale: str) -> None:
    """Write the page over everything that was measured, reports/SCALE/index.html."""
    _run("report", scale)


@cli.command()
@scale_option
def costs(scale: str) -> None:
    """Write what the paper's targets take; `plan` prints it for any target."""
    _run("costs", scale)


target_argument = click.argument("target", default="all")


@cli.command()
@target_argument
@click.option("--scale", default="paper", show_default=True, help="Folder under params/.")
@click.option("--gpus", type=click.IntRange(1), help="How many.  [default: params/<scale>/plan.yaml]")
@click.option("--gpu", metavar="TYPE", help="One of the processors of params/<scale>/plan.yaml.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(target: str, scale: str, gpus: int | None, gpu: str | None, as_json: bool) -> None:
    """Estimate jobs, GPU hours, time, memory and disk of TARGET: all, main, one task or one variant."""
    import json

    from pacavit import params
    from pacavit.pipeline import targets
    from pacavit.planning import amounts, costs, table

    given = params.load(scale)
    counted = costs.counted(targets.path("complexity.complexity", params.DEFAULT_SCALE))
    found = table.plan_for(given, scale, target, gpu, gpus, counted, amounts.found(scale, given, target))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        click.echo(
            f"{table.headline(found)}\n\n{table.as_markdown(found)}\n\nTime from:\n{table.sources(found)}"
        )


@cli.command()
@target_argument
@scale_option
@click.option("--profile", help="Of Snakemake: slurm looks for a cluster instead of GPUs here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def preflight(target: str, scale: str, profile: str | None, as_json: bool) -> None:
    """Check parameters, data, disk, GPUs or Slurm, MLflow and Git for TARGET; exit code 1 if one must be mended."""
    import json

    from pacavit.planning.preflight import check

    findings = check(scale, target, profile)
    if as_json:
        click.echo(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(f"{finding.state:5} {finding.name:10} {finding.text}")
    sys.exit(1 if any(finding.state == "mend" for finding in findings) else 0)


@cli.command()
@click.argument("name", required=False)
@scale_option
def stages(name: str | None, scale: str) -> None:
    """List the stages of the pipeline, or show what stage NAME reads, writes and depends on."""
    from pacavit.pipeline import shown

    click.echo(shown.overview(scale) if name is None else shown.one(name, scale))


@cli.command()
@click.option(
    "--optional", is_flag=True, help="List variants that no run without a target has, even if they never ran."
)
@scale_option
def dvc(optional: bool, scale: str) -> None:
    """Write dvc.yaml of a scale from the table of stages; `snakemake` does so too."""
    from pacavit import params
    from pacavit.pipeline import dvc

    changed = dvc.write_yaml(scale, params.load(scale), optional)
    for path in changed or [dvc.yaml_path(scale)]:
        click.echo(f"{path} is {'written' if path in changed else 'up to date'}")


@cli.command()
def code() -> None:
    """Write the digests of the stages' code, by which DVC sees an edit of it; DVC calls this by itself."""
    from pacavit import paths
    from pacavit.pipeline import dvc

    paths.require_project()
    dvc.write_code()


@cli.group()
def scale() -> None:
    """Make a scale: a folder of pages under params/."""


@scale.command()
@click.argument("name")
@click.option(
    "--images", type=PATH, help="To classify: IMAGES/CLASS/*, or IMAGES/train/CLASS/* and IMAGES/val/CLASS/*."
)
@click.option(
    "--coco",
    nargs=4,
    type=PATH,
    metavar="IMAGES JSON IMAGES JSON",
    help="To detect: images and COCO's JSON, for training and for validation.",
)
@click.option(
    "--segmentation",
    nargs=4,
    type=PATH,
    metavar="IMAGES LABELS IMAGES LABELS",
    help="To segment: images and label maps, for training and for validation.",
)
@click.option("--classes", type=PATH, help="Text with a class name a line, for --segmentation.")
@click.option("--first-class", type=click.IntRange(0, 255), help="Label of the first class.")
@click.option("--ignored", type=click.IntRange(0), multiple=True, help="Label of pixels that do not count.")
@click.option(
    "--like",
    type=click.Choice(["mini", "paper"]),
    default="mini",
    show_default=True,
    help="Scale to copy: mini trains a small model on a CPU, paper the paper's smallest on GPUs.",
)
def new(
    name: str,
    images: Path | None,
    coco: tuple[Path, ...] | None,
    segmentation: tuple[Path, ...] | None,
    classes: Path | None,
    first_class: int | None,
    ignored: tuple[int, ...],
    like: str,
) -> None:
    """Make the scale NAME for images of your own, with values from a look at them; edit its pages afterwards."""
    if images is None and not coco and not segmentation:
        raise click.UsageError("nothing to train on; give --images, --coco or --segmentation")
    if not segmentation and (classes or ignored or first_class is not None):
        raise click.UsageError("--classes, --first-class and --ignored are for --segmentation")
    if ignored and first_class is None:
        raise click.UsageError("--ignored needs --first-class, the label of the first class")
    from pacavit.planning.scale import new

    click.echo(new(name, like, images, coco or (), segmentation or (), classes, first_class, ignored))


@cli.command()
@scale_option
def sources(scale: str) -> None:
    """Look whether the files that a scale's data.yaml names have changed; DVC calls this by itself."""
    from pacavit import params
    from pacavit.pipeline import sources, targets

    given = params.load(scale)
    sources.write(scale, given, sources.Sources(scale, given), targets.jobs(given.targets))


@cli.command()
@scale_option
def readme(scale: str) -> None:
    """Renew the tables in README.md from the results of a scale, and the drawings in docs/architecture.md."""
    from pacavit.readme import update_all

    for text in update_all(scale):
        click.echo(text)


@cli.command()
def sync() -> None:
    """Hand to MLflow what it missed while it was away."""
    from pacavit import paths
    from pacavit.redaction import redacted_output
    from pacavit.tracking.queue import shown_uri
    from pacavit.tracking.replay import sync_all

    paths.require_project()
    with redacted_output():
        number = sync_all()
    click.echo(f"{number} runs are up to date at {shown_uri()}")


@cli.command()
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option(
    "--weights",
    type=PATH,
    required=True,
    help="Of a classifier, detector or segmentor.",
)
@click.option(
    "--model", "variant", metavar="VARIANT", help="Variant of the weights.  [default: told from them]"
)
@click.option("--to", "target", type=PATH, required=True, help="New folder to write.")
@click.option(
    "--side", type=click.IntRange(32, 512), default=224, show_default=True, help="Shorter side, pixels."
)
@click.option(
    "--at",
    nargs=2,
    type=click.FloatRange(0, 1),
    default=(0.5, 0.5),
    show_default=True,
    help="Patch of the attention's figure, as share of height and width.",
)
@click.option("--classes", type=PATH, help="Names of a PaCa head's classes, a line each.")
def explain(
    images: tuple[Path, ...],
    weights: Path,
    variant: str | None,
    target: Path,
    side: int,
    at: tuple[float, float],
    classes: Path | None,
) -> None:
    """Show the clusters of IMAGES: assignment maps, attention by head, and a page on which one clicks patches."""
    from pacavit.figures.explain import explain

    click.echo(explain(images, weights, variant, target, side, at, classes))


@cli.group()
def checkpoint() -> None:
    """Look into a file of weights, or write it in another form.

    Takes safetensors, and .pth files as released or as timm's trainer and mmengine save them; runs no code in them.
    """


file_argument = click.argument("file", type=PATH)
ema_option = click.option("--ema", is_flag=True, help="Take the running average (EMA) of the weights.")


checkpoint_scale_option = click.option(
    "--scale", help="Folder under params/ whose targets.yaml says how timm creates VARIANT."
)


def _model(variant: str, scale: str | None) -> Any:
    """Return a variant of a scale, or the model that is registered under its name."""
    from pacavit import params
    from pacavit.params.targets import Model

    return Model.of(variant) if scale is None else params.load(scale).targets.model(variant)


@checkpoint.command()
@file_argument
@click.option("--model", "variant", metavar="VARIANT", help="Compare with this variant, not the nearest one.")
@checkpoint_scale_option
@click.option("--task", type=DATASETS, help="Compare with the model of this data set, not the one guessed.")
@click.option("--head", type=HEADS, help="Segmentation head, for ade20k only.")
@ema_option
def inspect(
    file: Path, variant: str | None, scale: str | None, task: str | None, head: str | None, ema: bool
) -> None:
    """Tell what FILE holds, and every key of it that does not fit or is not finite; exit code 1 if there is one."""
    if head is not None and task not in (None, "ade20k"):
        raise click.UsageError(f"--head is for ade20k; {task} has one model only")
    from pacavit.checkpoints.inspection import inspect

    model = None if variant is None else _model(variant, scale)
    found = inspect(file, model, "ade20k" if head else task, head, ema)
    click.echo(found.text())
    sys.exit(1 if found.problems() else 0)


@checkpoint.command()
@file_argument
@click.option("--model", "variant", metavar="VARIANT", required=True, help="Variant that FILE is of.")
@checkpoint_scale_option
@click.option(
    "--to",
    "target",
    type=PATH,
    required=True,
    help="File to write: .safetensors, or .onnx of a classifier.",
)
@ema_option
@click.option(
    "--image-size",
    type=click.IntRange(32),
    help="Side of the images that the ONNX model takes, pixels.  [default: the variant's]",
)
def export(
    file: Path, variant: str, scale: str | None, target: Path, ema: bool, image_size: int | None
) -> None:
    """Write the weights of FILE, or the classifier with them, and check the copy against FILE."""
    if image_size is not None and target.suffix != ".onnx":
        raise click.UsageError(f"--image-size is for .onnx; {target} has no image size")
    from pacavit.checkpoints.export import export

    click.echo(export(file, _model(variant, scale), target, ema, image_size))


def main() -> None:
    """Run the command line; a :class:`PacavitError` is one line on stderr, and its exit code."""
    from pacavit.runtime import environment

    try:
        environment.check()
        cli(standalone_mode=True)
    except PacavitError as error:
        with suppress(BrokenPipeError):
            click.echo(f"pacavit: {error}", err=True)
        sys.exit(error.exit_code)
