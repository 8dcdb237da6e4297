"""Options on the command line that would replace a section of Snakemake's profile."""

import shlex
import shutil
from pathlib import Path

import pytest

from pacavit.errors import PacavitError
from pacavit.pipeline import profile
from pages import change

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def slurm(project):
    """The cluster's profile in the current folder."""
    return Path(shutil.copytree(ROOT / "slurm", project / "slurm"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--cores", "all"],
        ["-n", "--profile", "slurm", "main"],
        ["--profile", "slurm", "--config", "scale=mini"],
        ["--profile", "slurm", "--jobs", "3", "--retries", "0"],
        ["--set-resources", "pretrain:mem_mb=4000"],
        ["--profile", "none"],
    ],
)
def test_what_drops_nothing_is_taken(arguments):
    profile.check(arguments)


@pytest.mark.parametrize("name", ["slurm", "mine of it"])
def test_a_single_resource_is_refused_with_what_it_would_drop(slurm, name):
    slurm.rename(name)
    with pytest.raises(PacavitError) as refused:
        profile.check(["--profile", name, "--set-resources", "pretrain:gpu=4"])
    message = str(refused.value)
    assert "pretrain: cpus_per_gpu, mem_mb, nodes, runtime, slurm_partition" in message
    assert "coco, ade20k: cpus_per_gpu, gpu, mem_mb, nodes, runtime, slurm_partition" in message
    assert "evaluate_imagenet" in message
    assert f"cp -r {shlex.quote(name)} mine" in message


def test_all_resources_of_the_profile_may_be_given(slurm):
    change(slurm / "config.yaml", "set-resources", {"pretrain": {"gpu": 8, "runtime": 10}})
    profile.check(["--profile", "slurm", "--set-resources", "pretrain:gpu=4", "pretrain:runtime=5"])
    with pytest.raises(PacavitError, match="would drop pretrain: runtime"):
        profile.check(["--profile", "slurm", "--set-resources", "pretrain:gpu=4"])


def test_default_resources_likewise():
    with pytest.raises(PacavitError, match=r"--default-resources .* drop slurm_account, slurm_partition\."):
        profile.check(["--profile", "slurm", "--default-resources", "runtime=60"])


def test_a_workflow_profile_replaces_a_section_as_it_says(project):
    (project / "mine").mkdir()
    (project / "mine/config.yaml").write_text("set-resources: {pretrain: {gpu: 2}}\n")
    arguments = ["--profile", "slurm", "--workflow-profile", "mine"]
    profile.check(arguments)
    with pytest.raises(PacavitError, match="would drop pretrain: gpu"):
        profile.check([*arguments, "--set-resources", "coco:gpu=2"])


def test_the_profile_as_a_workflow_profile_counts():
    with pytest.raises(PacavitError, match="would drop"):
        profile.check(["--workflow-profile", "slurm", "--set-resources", "pretrain:gpu=4"])


def test_a_profile_of_the_environment_counts(monkeypatch):
    monkeypatch.setenv("SNAKEMAKE_PROFILE", "slurm")
    with pytest.raises(PacavitError, match="would drop"):
        profile.check(["--set-resources", "pretrain:gpu=4"])


def test_a_rule_that_there_is_not_is_named_with_the_near_one(slurm):
    with pytest.raises(PacavitError, match=r"--set-resources: 'pretain' is no rule; did you mean 'pretrain'"):
        profile.check(["--set-resources", "pretain:mem_mb=4"])
    change(slurm / "config.yaml", "set-resources", {"pretain": {"gpu": 8}})
    with pytest.raises(PacavitError, match=r"profile slurm: set-resources: 'pretain' is no rule"):
        profile.check(["--profile", "slurm"])
