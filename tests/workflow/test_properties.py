"""What users rely on, each with the command that they type."""

import os
import shutil
import signal
import subprocess
import time

import pytest
from workflow_repository import FAKE, VARIANTS, Checkout

from pages import change

pytestmark = pytest.mark.slow

HEADS = ("paca", "upernet")

#: What follows from any measurement.
GATHERING = {"claims", "overview", "report"}


def jobs(stage: str, variants=VARIANTS, heads=HEADS) -> set[str]:
    if stage == "clusters" or stage.endswith("ade20k"):
        return {f"{stage}@{variant}-{head}-0" for variant in variants for head in heads}
    return {f"{stage}@{variant}-0" for variant in variants}


def task(dataset: str, **chosen) -> set[str]:
    """The training of a dense task and what follows from it."""
    clusters = jobs("clusters", **chosen) if dataset == "ade20k" else set()
    return jobs(dataset, **chosen) | evaluated(dataset, **chosen) | clusters


def evaluated(dataset: str, **chosen) -> set[str]:
    return jobs(f"evaluate_{dataset}", **chosen) | jobs(f"figures_{dataset}", **chosen) | GATHERING


SECOND = {"variants": ("second_pacavit",)}
EDITS = {
    "comment": ("ade20k", None, set()),
    "segmentation rate": ("ade20k", "recipe.lr", task("ade20k")),
    "one head": ("ade20k", "heads.paca.cluster_loss_weight", task("ade20k", heads=("paca",))),
    "detection batch": ("coco", "recipe.global_batch", task("coco")),
    "one variant": (
        "pretrain",
        "variants.second_pacavit.drop_path",
        jobs("pretrain", **SECOND)
        | evaluated("imagenet", **SECOND)
        | task("coco", **SECOND)
        | task("ade20k", **SECOND),
    ),
    "evaluation": ("evaluate", "imagenet.keep", evaluated("imagenet")),
    "tolerance": ("claims", "last_places", GATHERING),
    "title": ("figures", "report.title", {"report"}),
}


#: Edits of the package: the file, what is replaced by what, and the jobs that it affects.
CODE = {
    "comment": ("evaluation/coco.py", "def evaluate", "# A word.\ndef evaluate", set()),
    "docstring": ("training/coco.py", "Fine-tune Mask", "Tune Mask", set()),
    "one evaluation": ("evaluation/coco.py", "recipe = job", "print()\n    recipe = job", evaluated("coco")),
    "one training": ("training/coco.py", "recipe = job", "print()\n    recipe = job", task("coco")),
    "the page": ("figures/page/report.html", "<body", "<body data-edited", {"report"}),
    "tracking": ("tracking/queue.py", "def entries", "EDITED = 1\n\n\ndef entries", set()),
}


def other(value):
    """Give another value that is valid as well."""
    return 2 * value or 0.1


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("tool", ["snakemake", "dvc"])
def test_an_edit_runs_what_it_affects_and_leaves_the_other_tool_nothing(built, tool, edit):
    page, place, affected = EDITS[edit]
    if place is None:
        built.edit(page, "recipe:", "# A word.\nrecipe:")
    else:
        built.change(page, place, other)
    assert (built.snakemake() if tool == "snakemake" else built.dvc_repro()) == affected
    assert built.is_at_rest()


@pytest.mark.parametrize("edit", CODE)
@pytest.mark.parametrize("tool", ["snakemake", "dvc"])
def test_an_edit_of_the_code_runs_what_it_affects_and_leaves_the_other_tool_nothing(built, tool, edit):
    name, old, new, affected = CODE[edit]
    path = built.folder / "src/pacavit" / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    assert (built.snakemake() if tool == "snakemake" else built.dvc_repro()) == affected
    assert built.is_at_rest()


def test_an_edit_of_the_papers_models_counts_them_again(built):
    page = built.folder / "params" / "paper" / "ade20k.yaml"
    change(page, "heads.upernet.channels", other)
    assert built.snakemake() == {"complexity", "costs"} | GATHERING
    change(page, "recipe.lr", other)
    # A rate changes no count; the plan goes by the whole recipe.
    assert built.snakemake() == {"costs"}
    assert built.is_at_rest()


def test_everything_runs_once_and_then_nothing(built):
    assert sorted(built.ran()) == built.jobs()
    assert not built.would_run()
    assert built.is_clean_for_dvc()
    assert built.is_at_rest()


def test_dvc_alone_runs_everything_and_leaves_snakemake_nothing(unbuilt):
    unbuilt.run("pacavit", "dvc")
    assert sorted(unbuilt.dvc_repro()) == unbuilt.jobs()
    assert not unbuilt.would_run()


def test_a_fresh_clone_pulls_and_has_nothing_to_do(built, tmp_path):
    built.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    built.run("git", "commit", "--quiet", "--all", "--message", "Add a remote")
    built.run("dvc", "push")
    built.run("git", "clone", "--quiet", str(built.folder), str(tmp_path / "clone" / "project"))
    clone = Checkout(tmp_path / "clone" / "project")
    clone.run("dvc", "pull")
    assert not clone.would_run()
    assert clone.snakemake() == set()
    clone.change("coco", "recipe.global_batch", other)
    assert clone.snakemake() == task("coco")


def test_an_edit_after_a_pull_is_seen(built, tmp_path):
    """Snakemake has no records in a fresh clone, so the bridge has to tell it."""
    built.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    built.run("git", "commit", "--quiet", "--all", "--message", "Add a remote")
    built.run("dvc", "push")
    built.run("git", "clone", "--quiet", str(built.folder), str(tmp_path / "clone" / "project"))
    clone = Checkout(tmp_path / "clone" / "project")
    clone.run("dvc", "pull")
    clone.change("data", "coco.archives.val_images", other)
    assert {"archives_coco", "prepare_coco"} | task("coco") == clone.snakemake()


def test_snakemake_takes_the_projects_own_settings(unbuilt):
    assert "workflow specific profile profiles/default" in unbuilt.run("snakemake", "-n")


def test_going_back_to_an_older_commit_restores_instead_of_running(built):
    built.change("coco", "recipe.global_batch", other)
    built.snakemake()
    built.run("git", "commit", "--quiet", "--all", "--message", "Edit")
    built.run("git", "checkout", "--quiet", "HEAD~1")
    built.run("dvc", "checkout")
    assert not built.would_run()
    assert built.dvc_repro() == set()


@pytest.mark.parametrize("victim", ["job", "snakemake"])
def test_what_was_killed_runs_again(built, victim):
    job = "coco@second_pacavit-0"
    built.change("coco", "recipe.global_batch", other)
    (built.folder / "started.log").unlink()
    run = subprocess.Popen(
        ["snakemake", "--cores", "2"],
        cwd=built.folder,
        env=built.environment(FAKE_SLOW_JOB=job),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(lambda: job in (built.folder / "started.log").read_text(), built.folder / "started.log")
    if victim == "snakemake":
        os.killpg(run.pid, signal.SIGKILL)
    else:
        os.kill(job_process(run.pid, "second_pacavit"), signal.SIGKILL)
    run.wait(timeout=120)
    if victim == "snakemake":
        assert "unlock" in built.run("snakemake", "--cores", "2", check=False)
        built.run("snakemake", "--unlock")
    again = built.snakemake()
    assert job in again
    assert again <= task("coco")
    assert built.is_at_rest()


def wait_for(condition, path) -> None:
    for _ in range(600):
        if path.exists() and condition():
            return
        time.sleep(0.1)
    raise AssertionError("waited a minute in vain")


def job_process(ancestor: int, variant: str) -> int:
    """Return the process that does a variant's job, below the shells that started it."""
    import psutil

    for process in psutil.Process(ancestor).children(recursive=True):
        command = process.cmdline()
        if str(FAKE) in command and variant in command:
            return process.pid
    raise AssertionError(f"no job of {variant} is running")


def test_dvc_compares_metrics_params_and_plots(built):
    built.change("ade20k", "recipe.lr", other)
    built.snakemake()
    assert "score" in built.run("dvc", "metrics", "diff")
    assert "recipe.lr" in built.run("dvc", "params", "diff")
    built.run("dvc", "plots", "diff", "--out", "plots")
    assert "train_loss" in (built.folder / "plots" / "index.html").read_text()


def test_a_dvc_experiment_sets_a_parameter(built):
    before = built.ran()
    built.run(
        "dvc", "exp", "run", "--name", "wide", "--set-param", "params/mini/coco.yaml:recipe.global_batch=16"
    )
    assert set(built.ran()[len(before) :]) == task("coco")
    assert "wide" in built.run("dvc", "exp", "show", "--csv")
    assert not built.would_run()


@pytest.mark.parametrize("tool", ["snakemake", "dvc"])
@pytest.mark.parametrize(
    ("key", "values"), [("seeds", [0, 1]), ("heads", ["paca"]), ("variants", ["second_pacavit"])]
)
def test_results_follow_from_the_targets_when_one_is_added_and_dropped(built, tool, key, values):
    def run():
        return built.snakemake() if tool == "snakemake" else built.dvc_repro()

    before = built.results()
    kept = {"seeds": [0], "heads": ["paca", "upernet"], "variants": list(VARIANTS)}[key]
    built.change("targets", key, values)
    if key == "variants":
        built.change("targets", "groups.main", values)
    assert run() >= {"claims", "report"}
    assert built.results() != before
    built.change("targets", key, kept)
    if key == "variants":
        built.change("targets", "groups.main", kept)
    run()
    assert built.results() == before
    assert built.is_at_rest()


def test_a_value_that_is_put_back_is_taken_from_the_cache_by_either_tool(built):
    before = built.results()
    page = built.folder / "params/mini/coco.yaml"
    kept = page.read_text()
    built.change("coco", "recipe.global_batch", other)
    assert built.snakemake() == task("coco")
    page.write_text(kept)
    assert not built.would_run()
    assert built.snakemake() == set()
    assert built.results() == before
    assert built.is_at_rest()
    built.change("coco", "recipe.global_batch", other)
    assert built.dvc_repro() == set()
    assert built.is_at_rest()


def test_a_forced_job_runs_and_what_reads_the_same_bytes_is_taken_from_the_cache(built):
    assert built.snakemake("--forcerun", "evaluate_coco") == {
        job for job in built.jobs() if job.startswith("evaluate_coco@")
    }
    assert built.is_clean_for_dvc()
    assert built.is_at_rest()


def test_what_follows_a_forced_job_runs_if_it_was_to_run_anyhow(built):
    built.change("figures", "report.title", other)
    ran = built.snakemake("--forcerun", "evaluate_coco")
    assert {"report"} | {job for job in built.jobs() if job.startswith("evaluate_coco@")} == ran
    assert built.is_clean_for_dvc()
    assert built.is_at_rest()


def test_snakemakes_own_records_may_be_lost(built):
    built.change("coco", "recipe.global_batch", other)
    shutil.rmtree(built.folder / ".snakemake/metadata")
    assert built.snakemake() == task("coco")
    shutil.rmtree(built.folder / ".snakemake/metadata")
    assert not built.would_run()


def test_files_that_were_touched_are_the_same(built):
    for path in (built.folder / "checkpoints").rglob("*.safetensors"):
        path.touch()
    (built.folder / "data/mini/coco/manifest.json").touch()
    assert not built.would_run()
    assert built.dvc_repro() == set()


def test_archives_may_be_deleted_once_all_is_made_from_them(built):
    shutil.rmtree(built.folder / "data/mini/archives")
    shutil.rmtree(built.folder / ".dvc/cache")
    assert not built.would_run()
    built.change("coco", "recipe.global_batch", other)
    assert built.snakemake() == task("coco")
    built.change("data", "coco.prepare.max_gigabytes", other)
    assert built.snakemake() >= {"archives_coco", "prepare_coco"}


def test_a_result_that_was_edited_by_hand_is_put_back_or_made_again(built):
    path = built.folder / "reports/mini/metrics/coco/second_pacavit/seed0.json"
    before = path.read_text()
    path.write_text("{}")
    assert built.snakemake() == set()
    assert path.read_text() == before
    shutil.rmtree(built.folder / ".dvc/cache")
    path.write_text("{}")
    assert "evaluate_coco@second_pacavit-0" in built.snakemake()
    assert path.read_text() == before


def test_a_repository_without_git_works_without_dvc(built):
    shutil.rmtree(built.folder / ".git")
    printed = built.run("snakemake", "-n")
    assert "DVC versions nothing here: this folder is no Git repository: `git init` makes it one" in printed
    built.change("coco", "recipe.global_batch", other)
    assert built.snakemake() == task("coco")
    assert not built.would_run()


def test_a_scale_that_was_copied_is_versioned_too(built, tmp_path):
    shutil.copytree(built.folder / "params/mini", built.folder / "params/mine")
    assert len(built.snakemake("--config", "scale=mine")) == len(built.jobs())
    assert built.is_clean_for_dvc()
    assert built.is_at_rest()
    assert (built.folder / "reports/mine/index.html").exists()
    built.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    built.run("git", "add", "--all")
    built.run("git", "commit", "--quiet", "--message", "Run mine")
    built.run("dvc", "push", "--with-deps", "pipelines/mine/dvc.yaml")
    built.run("git", "clone", "--quiet", str(built.folder), str(tmp_path / "clone" / "project"))
    clone = Checkout(tmp_path / "clone" / "project")
    clone.run("dvc", "pull", "--with-deps", "pipelines/mine/dvc.yaml")
    assert "Nothing to be done" in clone.run("snakemake", "-n", "--config", "scale=mine")
    assert "up to date" in clone.run("dvc", "status", "pipelines/mine/dvc.yaml")
    change(clone.folder / "params/mine/coco.yaml", "recipe.global_batch", other)
    before = len(clone.ran())
    clone.run("dvc", "repro", "pipelines/mine/dvc.yaml")
    assert set(clone.ran()[before:]) == task("coco")
    assert "Nothing to be done" in clone.run("snakemake", "-n", "--config", "scale=mine")
