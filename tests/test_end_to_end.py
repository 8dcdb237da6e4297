"""A fresh clone runs the whole miniature, small, with every tool as a user types it."""

import contextlib
import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from clones import COUNTED, typed
from pacavit import params, paths, published
from pacavit.paths import PUBLISHED
from pacavit.pipeline import targets
from pacavit.pipeline.table import FIGURES, OVERVIEW, STAGES, Names
from pacavit.tasks import TASKS
from pages import change

pytestmark = pytest.mark.slow


@pytest.fixture
def clone(small_run):
    """The folder of a run, in which the tests below go on one after the other."""
    return small_run.folder


def wanted(clone: Path) -> list[tuple[str, Names]]:
    """Return the jobs of the run."""
    with contextlib.chdir(clone):
        return list(targets.jobs(params.load("mini").targets))


def test_every_number_was_measured(clone):
    metrics = {
        path.parts[-3]: json.loads(path.read_text()) for path in clone.glob("reports/mini/metrics/*/*/*.json")
    }
    assert 0 <= metrics["imagenet"]["top1"] <= 100
    assert set(metrics["coco"]["bbox"]) == set(metrics["coco"]["segm"])
    assert len(metrics["coco"]["bbox"]) == 12
    for head in ("paca", "upernet"):
        measured = json.loads(
            (clone / f"reports/mini/metrics/ade20k/test_pacavit/{head}/seed0.json").read_text()
        )
        assert {"mIoU", "mAcc", "aAcc", "untrained", "origin"} <= set(measured)
    origin = metrics["imagenet"]["origin"]
    assert len(origin["commit"].removesuffix("-dirty")) == 40
    assert len(origin["data"]) == len(origin["weights"]) == 64


def test_every_job_opens_what_its_stage_declares_and_nothing_else(clone, small_run):
    with contextlib.chdir(clone):
        given = params.load("mini")
    undeclared: list[str] = []
    for stage, names in wanted(clone):
        job = targets.name(stage, names)
        if stage in COUNTED:
            assert job not in small_run.opened
            continue
        several = targets.aggregated(stage, "mini", given.targets)
        declared = [
            *targets.inputs(stage, "mini", names).values(),
            *targets.outputs(stage, "mini", names).values(),
            *(path for files in several.values() for _, path in files),
        ]
        opened = {path for path in small_run.opened[job] if not is_own(Path(path), stage, declared)}
        undeclared += [f"{job}: {path}" for path in sorted(opened)]
    assert not undeclared


def is_own(path: Path, stage: str, declared: list[Path]) -> bool:
    """Return whether a job declares a file, or the folder that holds it, or keeps it among its own notes."""
    notes = (
        paths.path(paths.SOURCES, scale="mini"),
        "work/records",
        "work/uploads",
        "work/hashes.sqlite",
        "src",
    )
    own = (Path("work", stage), *map(Path, notes))
    if any(path == place or path.is_relative_to(place) for place in (*declared, *own)):
        return True
    # Outputs are written beside their final names first, where what a kill left is looked for and removed.
    return any(
        path in (*place.parents, place.parent / "*")
        or str(path).startswith(str(place.parent / f".{place.name}."))
        for place in declared
    )


def test_every_training_left_its_learning_curve(clone):
    curves = sorted(clone.glob("reports/mini/curves/**/*.csv"))
    trainings = {task.training for task in TASKS.values()}
    assert len(curves) == len([stage for stage, _ in wanted(clone) if stage in trainings])
    for path in curves:
        with open(path) as file:
            rows = list(csv.DictReader(file))
        assert [int(row["step"]) for row in rows] == sorted({int(row["step"]) for row in rows})
        assert any(float(row["train_loss"]) > 0 for row in rows if row["train_loss"])
        assert any(value for row in rows for name, value in row.items() if name.startswith("val_"))


def test_a_second_run_has_nothing_to_do(clone):
    assert "Nothing to be done" in typed(clone, "snakemake", "--cores", "2").stderr
    assert "up to date" in typed(clone, "dvc", "status").stdout


def test_every_published_number_has_a_verdict_and_the_readme_counts_them(clone):
    with open(clone / "reports/mini/claims/ledger.csv") as file:
        entries = list(csv.DictReader(file))
    counted = [entry for entry in entries if entry["metric"] in ("parameters", "multiply_adds")]
    assert len(entries) == len(published.read(clone / PUBLISHED))
    assert all(entry["measured"] and entry["why"] for entry in counted)
    assert "needs data" not in {entry["verdict"] for entry in counted}
    assert typed(clone, "git", "status", "--porcelain", "README.md").stdout == ""


def test_the_page_needs_no_network(clone):
    page = (clone / "reports/mini/index.html").read_text()
    models = [stage for stage, _ in wanted(clone) if stage.startswith("figures_")]
    assert page.count('src="data:image/') == len(models) * len(FIGURES) + len(OVERVIEW)
    assert 'src="http' not in page


def test_snakemakes_own_report(clone):
    typed(clone, "snakemake", "--report", "report.zip")
    assert (clone / "report.zip").stat().st_size > 100_000


def test_mlflow_has_every_stage_by_default(clone):
    from mlflow import MlflowClient

    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
    code = "import mlflow; print(mlflow.get_tracking_uri())"
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=clone, env=environment, capture_output=True, text=True
    )
    assert Path(unquote(printed.stdout.strip()).removeprefix("sqlite:///")).samefile(clone / "mlflow.db")
    client = MlflowClient(f"sqlite:///{clone}/mlflow.db")
    experiment = client.get_experiment_by_name("pacavit-mini")
    runs = client.search_runs([experiment.experiment_id], "tags.job LIKE '%'")
    jobs = {targets.name(*job) for job in targets.jobs(params.load("mini").targets)}
    assert {run.data.tags["job"] for run in runs} == jobs - set(COUNTED)
    (parent,) = client.search_runs([experiment.experiment_id], "attributes.run_name = 'reproduction mini'")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {parent.info.run_id}
    assert parent.info.status == "FINISHED"
    assert {run.info.status for run in runs} == {"FINISHED"}
    trained = next(run for run in runs if run.info.run_name == "pretrain@test_pacavit-0")
    assert trained.data.params["pretrain.recipe.epochs"] == "2"
    assert len(client.get_metric_history(trained.info.run_id, "train/loss")) == 2
    assert trained.data.tags["data.data"]
    assert "mlflow.source.git.commit" in trained.data.tags
    assert any(name.startswith("system/") for name in trained.data.metrics)


def test_mlflow_has_every_figure_and_table_and_the_final_weights_as_models(clone):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{clone}/mlflow.db")
    experiment = client.get_experiment_by_name("pacavit-mini")
    for run in client.search_runs([experiment.experiment_id], "tags.job LIKE '%'"):
        written = [output.path for output in STAGES[run.data.tags["stage"]].outputs.values()]
        wanted = {Path(path.format(**run.data.tags)).name for path in written if path.startswith("reports/")}
        assert {item.path for item in client.list_artifacts(run.info.run_id)} == wanted, run.info.run_name
    versions = client.search_model_versions()
    assert sorted(version.name for version in versions) == [
        "pacavit-mini-ade20k-test_pacavit-paca",
        "pacavit-mini-ade20k-test_pacavit-upernet",
        "pacavit-mini-coco-test_pacavit",
        "pacavit-mini-pretrain-test_pacavit",
    ]


def test_an_edit_of_one_head_repeats_that_head_alone(clone):
    change(clone / "params/mini/ade20k.yaml", "heads.paca.cluster_loss_weight", lambda weight: 2 * weight)
    printed = typed(clone, "dvc", "repro").stdout
    ran = {line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")}
    of_the_head = {
        f"{stage}@test_pacavit-paca-0"
        for stage in ("ade20k", "evaluate_ade20k", "figures_ade20k", "clusters")
    }
    # The ledger stays the same, since digits are not the official data: `overview`, which reads it, is left out.
    assert ran == of_the_head | {"claims", "report"}
    assert "Nothing to be done" in typed(clone, "snakemake", "--cores", "2").stderr


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:20_000]), "truncated or corrupt archive"),
        (lambda path: path.unlink(), "missing, and stage prepare_coco reads it"),
    ],
)
def test_a_damaged_archive_is_one_line_and_leaves_nothing(clone, damage, message):
    archive = clone / "data/mini/archives/coco/train2017.zip"
    prepared = clone / "data/mini/coco"
    kept = archive.read_bytes()
    before = sorted(path.name for path in prepared.parent.iterdir())
    damage(archive)
    result = typed(clone, "pacavit", "prepare", "coco", check=False)
    archive.write_bytes(kept)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert message in result.stderr
    assert sorted(path.name for path in prepared.parent.iterdir()) == before
