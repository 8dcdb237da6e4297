"""When `make install` makes the environment: with a Python and an installer that only note what they are asked."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: A Python that makes environments of copies of itself, and fails to install as long as there is a file named `broken`.
PYTHON = r"""#!/bin/sh
case "$*" in
*sys.exit*) ;;
*print*) sed -n 's/^# version //p' "$0" ;;
"-m venv"*)
  echo "$*" >> made.log
  self=`cat "$0"`
  case "$*" in *--clear*) rm -rf .venv/* .venv/.installed ;; esac
  mkdir -p .venv/bin; touch .venv/pyvenv.cfg
  for name in python python3; do echo "$self" > .venv/bin/$name; chmod +x .venv/bin/$name; done ;;
"-m pip"*) echo "$*" >> installed.log; test ! -e broken ;;
esac
exit $?
# version """


class Project:
    """A folder with the Makefile, and `make` typed in it."""

    def __init__(self, folder: Path, pythons: Path) -> None:
        self.folder, self.pythons = folder, pythons

    def make(self, *arguments: str, check: bool = True) -> str:
        system = os.environ["PATH"].split(os.pathsep)
        own = [folder for folder in system if not (Path(folder).parent / "pyvenv.cfg").exists()]
        result = subprocess.run(
            ["make", "--no-print-directory", "UV=", *arguments],
            cwd=self.folder,
            env={"PATH": os.pathsep.join([str(self.pythons), *own]), "HOME": os.environ["HOME"]},
            capture_output=True,
            text=True,
            timeout=60,
        )
        if check:
            assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    def installs(self, *arguments: str) -> list[str]:
        """Type `make install`; return with which options it made environments."""
        log = self.folder / "made.log"
        log.unlink(missing_ok=True)
        (self.folder / "installed.log").unlink(missing_ok=True)
        self.make("install", *arguments)
        return log.read_text().splitlines() if log.exists() else []

    @property
    def installed(self) -> bool:
        """Whether the last `make install` installed packages."""
        return (self.folder / "installed.log").exists()


@pytest.fixture(params=["project", "my project", "it's"])
def project(tmp_path, request) -> Project:
    pythons = tmp_path / "bin"
    pythons.mkdir()
    for name, version in (("python3", "3.11"), ("python3.11", "3.11"), ("python3.12", "3.12")):
        (pythons / name).write_text(f"{PYTHON}{version}\n")
        (pythons / name).chmod(0o755)
    folder = tmp_path / request.param
    folder.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return Project(folder, pythons)


NEW = ["-m venv --clear .venv"]


def test_a_second_run_does_nothing(project):
    assert project.installs() == NEW
    assert project.installs() == []
    assert not project.installed


def test_other_versions_are_installed_into_the_same_environment(project):
    project.installs()
    os.utime(project.folder / "requirements.lock", (2**31, 2**31))
    assert project.installs() == []
    assert project.installed


@pytest.mark.parametrize("how", [shutil.copytree, shutil.move])
def test_a_copied_or_moved_project_gets_an_environment_of_its_own(project, tmp_path, how):
    project.installs()
    other = Project(tmp_path / "other", project.pythons)
    how(project.folder, other.folder)
    assert other.installs() == NEW
    assert other.installs() == []
    if project.folder.exists():
        assert project.installs() == []


def test_another_python_makes_the_environment_anew_and_stays(project):
    project.installs()
    assert project.installs("PYTHON=python3.11") == []
    assert project.installs("PYTHON=python3.12") == NEW
    assert project.installs("PYTHON=python3.12") == []
    assert project.installs() == []
    assert project.installs("PYTHON=python3.11") == NEW


@pytest.mark.parametrize("again", [[], ["PYTHON=python3.11"], ["PYTHON=python3.12"]])
@pytest.mark.parametrize("before", ["nothing", "an older one"])
def test_after_an_interrupted_installation_it_begins_anew(project, before, again):
    if before == "an older one":
        project.installs()
        os.utime(project.folder / "requirements.lock", (2**31, 2**31))
    (project.folder / "broken").touch()
    project.make("install", "PYTHON=python3.12", check=False)
    (project.folder / "broken").unlink()
    assert project.installs(*again) == NEW
    assert project.installs(*again) == []


def test_an_environment_whose_python_is_gone_is_made_anew(project):
    project.installs()
    for name in ("python", "python3"):
        (project.folder / ".venv/bin" / name).unlink()
        (project.folder / ".venv/bin" / name).symlink_to("/nowhere/python3")
    assert project.installs() == NEW


def test_a_link_to_an_environment_of_another_folder_is_not_cleared(project, tmp_path):
    project.installs()
    other = Project(tmp_path / "other", project.pythons)
    shutil.copytree(project.folder, other.folder, ignore=shutil.ignore_patterns(".venv"))
    (other.folder / ".venv").symlink_to(project.folder / ".venv")
    assert "remove the link" in other.make("install", check=False)
    assert project.installs() == []


def test_a_link_to_a_larger_disk_is_kept(project, tmp_path):
    (tmp_path / "disk").mkdir()
    (project.folder / ".venv").symlink_to(tmp_path / "disk")
    assert project.installs() == NEW
    assert project.installs() == []
    assert (tmp_path / "disk/.installed").exists()


def test_a_python_that_is_too_old_or_not_there_is_told_before_anything_is_removed(project):
    project.installs()
    assert "make PYTHON=python3.12" in project.make("install", "PYTHON=nosuchpython", check=False)
    assert project.installs() == []
