"""Settings of the machine are read strictly, and an environment that would mislead is refused."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pacavit
from pacavit.errors import PacavitError
from pacavit.runtime import environment
from pacavit.runtime.environment import seconds

ROOT = Path(__file__).resolve().parents[2]

NAME = "PACAVIT_A_TEST"


def test_a_number_of_seconds_or_the_default(monkeypatch):
    monkeypatch.delenv(NAME, raising=False)
    assert seconds(NAME, 20) == 20
    monkeypatch.setenv(NAME, "2.5")
    assert seconds(NAME, 20) == 2.5
    monkeypatch.setenv(NAME, "0")
    assert seconds(NAME, 20, zero=True) == 0


@pytest.mark.parametrize("value", ["-1", "soon", "inf", "nan", ""])
def test_anything_else_is_told(monkeypatch, value):
    monkeypatch.setenv(NAME, value)
    with pytest.raises(PacavitError, match=f"{NAME}={value}: expected a number of seconds, 0 or more"):
        seconds(NAME, 20, zero=True)


def test_nothing_is_a_number_only_where_it_makes_sense(monkeypatch):
    monkeypatch.setenv(NAME, "0")
    with pytest.raises(PacavitError, match=f"{NAME}=0: expected a number of seconds, above 0"):
        seconds(NAME, 20)


@pytest.fixture
def copied(tmp_path, monkeypatch) -> Path:
    """A project folder with an environment of its own, which does not run its code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    Path("src/pacavit").mkdir(parents=True)
    Path(".venv").mkdir()
    Path(".venv/pyvenv.cfg").touch()
    return tmp_path


def test_the_code_of_another_project_does_not_run_in_a_copy(copied):
    running = Path(pacavit.__file__).resolve().parent
    with pytest.raises(PacavitError, match="make install") as caught:
        environment.check()
    assert str(caught.value).startswith(f"{running}: ")


def test_code_that_was_chosen_runs_and_so_does_the_projects_own(copied, monkeypatch):
    source = Path(pacavit.__file__).resolve().parents[1]
    monkeypatch.setenv("PYTHONPATH", f"/nowhere{os.pathsep}{source}")
    environment.check()
    monkeypatch.delenv("PYTHONPATH")
    Path("src/pacavit").rmdir()
    Path("src/pacavit").symlink_to(source / "pacavit")
    environment.check()


def test_a_folder_without_an_environment_takes_the_active_one(copied):
    Path(".venv/pyvenv.cfg").unlink()
    environment.check()


@pytest.mark.parametrize("encoding", ["ascii", "ANSI_X3.4-1968", "ISO-8859-1", "latin-1", "cp1252"])
def test_a_locale_that_is_not_utf8_is_told_with_what_to_set(project, monkeypatch, encoding):
    monkeypatch.setattr(environment.locale, "getpreferredencoding", lambda set_it: encoding)
    with pytest.raises(PacavitError, match=f"{encoding}.*PYTHONUTF8=1") as caught:
        environment.check()
    assert str(caught.value).isascii()


@pytest.mark.parametrize("encoding", ["UTF-8", "utf8", "UTF8"])
def test_a_locale_of_utf8_has_many_names(project, monkeypatch, encoding):
    monkeypatch.setattr(environment.locale, "getpreferredencoding", lambda set_it: encoding)
    environment.check()


@pytest.mark.parametrize("command", [["-m", "pacavit", "stages"], ["-m", "snakemake", "-n", "--cores", "1"]])
def test_commands_end_with_one_line_in_such_a_locale(project, command):
    shutil.copy(ROOT / "Snakefile", project)
    shutil.copytree(ROOT / "workflow", project / "workflow")
    variables = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = subprocess.run(
        [sys.executable, *command], env=variables, capture_output=True, timeout=120, check=False
    )
    assert result.returncode
    assert b"PYTHONUTF8=1" in result.stderr
    assert b"Traceback" not in result.stderr


def test_a_sign_that_the_terminal_cannot_show_stops_nothing(project):
    variables = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "pacavit", "plan", "--scale", "mini"]
    result = subprocess.run(command, env=variables, capture_output=True, timeout=120, check=False)
    assert b"Traceback" not in result.stderr
