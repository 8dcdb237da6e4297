"""The command line as a user types it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

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


@pytest.fixture
def typed(monkeypatch, capsys):
    """A function that types a command; returns its exit code and what it printed."""

    def type_(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["pacavit", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code, captured.out + captured.err

    return type_


@pytest.fixture
def below(project, monkeypatch):
    """A folder below the project's root, which is the current one."""
    folder = project / "note books" / "größer"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("arguments", [["stages", "coco"], ["stages", "coco", "--scale", "paper"], ["sync"]])
def test_a_command_finds_the_project_from_a_folder_below(project, below, typed, arguments):
    code, printed = typed(*arguments)
    assert code == 0, printed
    assert Path.cwd() == project
    assert list(below.iterdir()) == []


def test_a_command_finds_the_project_from_a_folder_that_a_link_led_to(
    project, typed, monkeypatch, tmp_path_factory
):
    disk = tmp_path_factory.mktemp("disk")
    (project / "data").symlink_to(disk)
    monkeypatch.chdir(project / "data")
    monkeypatch.setenv("PWD", str(project / "data"))
    assert typed("stages", "coco")[0] == 0
    assert Path.cwd() == project


def test_paths_are_those_of_the_folder_in_which_they_are_typed(below, typed):
    assert "note books/größer/none.pth: no such checkpoint" in typed("checkpoint", "inspect", "none.pth")[1]
    (below / "there.pth").write_text("text")
    assert "there.pth" in typed("checkpoint", "inspect", str(below / "there.pth"))[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["sync"],
        ["code"],
        ["stages"],
        ["plan"],
        ["pretrain", "test_pacavit"],
        ["dvc"],
        ["sources"],
        ["complexity", "--scale", "mini"],
    ],
)
def test_outside_a_project_a_command_says_where_to_go(tmp_path, monkeypatch, typed, arguments):
    monkeypatch.chdir(tmp_path)
    code, printed = typed(*arguments)
    assert code == 2
    assert "in no project; change to the folder that holds params/ and the Snakefile" in printed
    assert list(tmp_path.iterdir()) == []


def test_outside_a_project_preflight_says_so(tmp_path, monkeypatch, typed):
    monkeypatch.chdir(tmp_path)
    code, printed = typed("preflight")
    assert (code, "in no project" in printed) == (1, True)


def test_a_current_folder_that_is_gone_is_one_line(tmp_path, monkeypatch, typed):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert typed("stages") == (2, "pacavit: the current folder is gone; change to another one\n")


def test_a_stage_of_the_table_has_a_command_without_another_line(monkeypatch):
    spec = replace(STAGES["clusters"], name="sizes", command="sizes {variant} --head {head} --seed {seed}")
    monkeypatch.setitem(STAGES, "sizes", spec)
    ran = []
    monkeypatch.setattr("pacavit.cli._run", lambda *stage, **names: ran.append((stage, names)))
    result = CliRunner().invoke(
        cli, [*targets.command("sizes", "paper", variant="a", head="upernet", seed=1).split()[1:]]
    )
    assert result.exit_code == 0, result.output
    assert ran == [(("sizes",), {"variant": "a", "head": "upernet", "seed": 1, "scale": "paper"})]
    assert "sizes" in CliRunner().invoke(cli, ["--help"]).output


def test_a_file_that_ends_early_is_no_abort_by_the_user(monkeypatch):
    def read(*stage, **names):
        raise EOFError("Ran out of input")

    monkeypatch.setattr("pacavit.cli._run", read)
    with pytest.raises(RuntimeError, match="EOFError: Ran out of input"):
        CliRunner().invoke(cli, ["archives", "coco"], catch_exceptions=False)
