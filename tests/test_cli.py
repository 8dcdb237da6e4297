"""The command line as a user types it."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from pacavit.cli import cli, main
from pacavit.pipeline import targets
from pacavit.pipeline.table import STAGES


def test_help_lists_the_stages():
    result = subprocess.run([sys.executable, "-m", "pacavit", "--help"], capture_output=True, text=True)
    assert result.returncode == 0
    for command in ("archives", "prepare", "pretrain", "coco", "ade20k", "evaluate", "figures", "report"):
        assert f"\n  {command} " in result.stdout


def test_help_imports_nothing_heavy():
    code = "import sys; from pacavit import cli, params; from pacavit.pipeline import run, targets; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "mlflow", "matplotlib", "mmengine", "pandas", "sklearn"} & set(loaded)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrian", "test_pacavit"], "No such command 'pretrian'"),
        (["archives", "cifar"], "'cifar' is not one of"),
        (["pretrain", "test_pacavit", "--seed", "-1"], "Invalid value for '--seed'"),
        (["evaluate", "coco", "test_pacavit", "--head", "paca"], "--head is for ade20k"),
        (["pretrain", "test_pacavit", "--scale", "huge"], "params/huge: no such scale"),
        (["pretrain", "pacavit_huge"], "no 'pacavit_huge' under variants"),
        (["pretrain", "test_pacavit"], "data/mini/imagenet: missing, and stage pretrain reads it"),
        (
            ["evaluate", "coco", "test_pacavit", "--released", "--seed", "1"],
            "--seed is for models trained here",
        ),
        (["checkpoint", "inspect", "none.pth"], "none.pth: no such checkpoint"),
        (
            ["predict", "coco", "a.jpg", "--weights", "none.pth", "--model", "test_pacavit", "--to", "found"],
            "none.pth: no such checkpoint",
        ),
        (
            ["report"],
            "ledger.csv: missing, and stage report reads it; make it with `pacavit claims --scale mini`",
        ),
    ],
)
def test_a_mistake_is_told_plainly_and_writes_nothing(project, monkeypatch, capsys, arguments, message):
    before = sorted(project.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["pacavit", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert sorted(project.rglob("*")) == before


@pytest.mark.parametrize("stage", STAGES)
def test_the_command_of_each_stage_is_one_the_command_line_knows(project, stage):
    names = {"variant": "test_pacavit", "head": "paca", "seed": 0, "scale": "mini"}
    _, *arguments = targets.command(stage, **names).split()
    result = CliRunner().invoke(cli, [*arguments, "--help"])
    assert result.exit_code == 0
    assert result.output.startswith("Usage:")
