"""Each check, with the fault that it is for."""

import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from pacavit import paths
from pacavit.cli import cli
from pacavit.data.registry import DATASETS
from pacavit.pipeline import targets
from pacavit.planning import preflight
from pacavit.planning.preflight import check


def found(name: str, *arguments: str | None) -> list[tuple[str, str]]:
    return [(finding.state, finding.text) for finding in check(*arguments) if finding.name == name]


def test_a_wrong_parameter_or_target_is_all_that_is_told(project):
    ((state, text),) = [(finding.state, finding.text) for finding in check("mini", "base")]
    assert state == "mend"
    assert "target 'base': unknown" in text
    page = paths.path(paths.PARAMS, scale="mini", page="coco")
    page.write_text(page.read_text().replace("epochs:", "epoch:", 1))
    assert [finding.name for finding in check("mini", "all")] == ["parameters"]


def test_an_archive_that_is_missing_or_of_another_size_is_named(project):
    assert "archives/ILSVRC2012_img_train.tar is missing" in found("imagenet", "paper", "only_imagenet")[0][1]
    Path("archives").mkdir()
    for file in DATASETS["imagenet"].files.values():
        with open(Path("archives") / file.name, "wb") as archive:
            archive.truncate(file.size or 1)  # sparse: no disk is used
    assert found("imagenet", "paper", "only_imagenet") == [("ok", "all archives are in archives")]
    os.truncate("archives/ILSVRC2012_img_val.tar", 7)
    assert "has 7 bytes, not 6,744,924,160" in found("imagenet", "paper", "only_imagenet")[0][1]
    assert found("coco", "paper", "only_imagenet") == []


def test_data_that_are_there_need_no_archive(project):
    targets.path("prepare_imagenet.data", "paper").mkdir(parents=True)
    assert found("imagenet", "paper", "only_imagenet") == [("ok", "prepared already")]


def test_a_full_disk_is_told_before_it_is_full(project, monkeypatch):
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 100e9}))
    states = {text.split("/")[0]: state for state, text in found("disk", "paper", "main")}
    assert states == {"data": "mend", "checkpoints": "ok", "work": "ok"}


def test_no_gpu_is_to_be_mended_at_paper_scale_only(project, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert found("gpus", "mini", "all") == [("ok", "none, and params/mini/plan.yaml plans without")]
    assert found("gpus", "paper", "main")[0][0] == "mend"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: "A100")
    assert found("gpus", "paper", "main")[0][1].startswith("2 × A100")


@pytest.fixture
def sinfo(tmp_path, monkeypatch):
    """A function that puts Slurm's commands on PATH, which print what it is given."""

    def install(*lines: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name in ("sbatch", "squeue", "sinfo"):
            path = folder / name
            path.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
            path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return install


def test_a_profile_looks_for_slurm_and_its_partitions(project, monkeypatch, sinfo):
    monkeypatch.setenv("PATH", "/usr/bin")
    assert found("slurm", "paper", "main", "slurm")[0][0] == "mend"
    sinfo("cpu* (null)", "long gpu:a100:8")
    assert found("slurm", "paper", "main", "slurm") == [("ok", "partitions with GPUs: long")]
    sinfo("cpu* (null)")
    assert found("slurm", "paper", "main", "slurm")[0][0] == "mend"


def test_a_server_that_is_away_is_a_note_without_its_password(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    ((state, text),) = found("mlflow", "mini", "all")
    assert (state, "secret" in text) == ("note", False)
    assert "pacavit sync" in text
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert found("mlflow", "mini", "all") == [("ok", "a database in this folder")]


def test_outside_git_numbers_cannot_be_traced(project):
    assert found("git", "mini", "all")[0][0] == "note"


def test_the_command_ends_with_1_if_something_is_to_be_mended_and_prints_json(project):
    result = CliRunner().invoke(cli, ["preflight", "--scale", "paper", "--json"])
    assert result.exit_code == 1
    assert {"state": "mend", "name": "imagenet"}.items() <= json.loads(result.output)[1].items()
    assert not Path("data").exists()


def test_a_page_that_plans_for_a_cpu_needs_no_gpu_at_any_scale(project, monkeypatch, sinfo):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    shutil.copytree("params/mini", "params/mine")
    assert found("gpus", "mine", "only_imagenet") == [("ok", "none, and params/mine/plan.yaml plans without")]
    sinfo("cpu* (null)")
    assert found("slurm", "mine", "all", "slurm")[0][0] == "ok"
    shutil.copy("params/paper/plan.yaml", "params/mini/plan.yaml")
    assert found("gpus", "mini", "all")[0][0] == "mend"
