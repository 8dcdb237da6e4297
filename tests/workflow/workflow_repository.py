"""A working copy of the workflow, and commands typed in it; only the work of the stages is replaced."""

import contextlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

import warm
from pacavit import params
from pacavit.files import MANIFEST, sha256
from pacavit.pipeline import targets
from pages import change

ROOT = Path(__file__).resolve().parents[2]
FAKE = Path(__file__).with_name("fake_pacavit.py")
VARIANTS = ("test_pacavit", "second_pacavit")


class Checkout:
    """A working copy, and commands typed in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def environment(self, **more: str) -> dict[str, str]:
        fake = self.folder.parent / "bin"
        fake.mkdir(exist_ok=True)
        command = fake / "pacavit"
        command.write_text(f'#!/bin/sh\nexec {shlex.join(warm.command(str(FAKE)))} "$@"\n')
        command.chmod(0o755)
        commands = Path(sys.executable).parent
        path = os.pathsep.join([str(fake), str(commands), os.environ["PATH"]])
        # The package of the working copy itself, so that an edit of it counts.
        more = {"PYTHONPATH": str(self.folder / "src"), **more}
        identity = {
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@b",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@b",
        }
        return {
            **os.environ,
            **identity,
            "PATH": path,
            "DVC_NO_ANALYTICS": "1",
            "PACAVIT_TRACKING": "off",
            **more,
        }

    def run(self, *command: str, check: bool = True, **more: str) -> str:
        """Type a command; return what it printed."""
        result = subprocess.run(
            warm.command(*command) if command[0] in warm.COMMANDS else command,
            cwd=self.folder,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=300,
        )
        if check and result.returncode:
            raise AssertionError(
                f"{command} ended with {result.returncode}\n{result.stdout}\n{result.stderr}"
            )
        return result.stdout + result.stderr

    def snakemake(self, *arguments: str) -> set[str]:
        """Type `snakemake --cores 2`; return the jobs that ran."""
        return self._jobs("snakemake", "--cores", "2", *arguments)

    def dvc_repro(self) -> set[str]:
        """Type `dvc repro`; return the jobs that ran."""
        return self._jobs("dvc", "repro")

    def would_run(self) -> bool:
        """Tell whether `snakemake -n` finds anything to do."""
        return "Nothing to be done" not in self.run("snakemake", "-n")

    def is_clean_for_dvc(self) -> bool:
        """Tell whether `dvc status` finds everything up to date."""
        return "up to date" in self.run("dvc", "status")

    def is_at_rest(self) -> bool:
        """Tell whether `snakemake` and `dvc repro` both say that there is nothing to do, and do nothing."""
        before = self.ran()
        said = self.run("snakemake", "--cores", "2"), self.run("dvc", "repro")
        print(*said, sep="\n")  # shown if a test fails
        return "Nothing to be done" in said[0] and "up to date" in said[1] and self.ran() == before

    def jobs(self) -> list[str]:
        """Return the names of all jobs."""
        return sorted(targets.name(*job) for job in self._wanted())

    def results(self) -> dict[str, str]:
        """Return the hash of every output of the targets, by path; `(none)` where there is none."""
        found = {}
        for stage, names in self._wanted():
            for path in targets.outputs(stage, "mini", names).values():
                file = self.folder / path / MANIFEST if (self.folder / path).is_dir() else self.folder / path
                found[str(path)] = sha256(file) if file.exists() else "(none)"
        return found

    def _wanted(self):
        with contextlib.chdir(self.folder):
            return targets.jobs(params.load("mini").targets)

    def edit(self, page: str, old: str, new: str) -> None:
        """Edit the text of a page of parameters."""
        path = self.folder / "params" / "mini" / f"{page}.yaml"
        text = path.read_text()
        assert old in text, f"{page}.yaml no longer holds {old!r}"
        path.write_text(text.replace(old, new, 1))

    def change(self, page: str, place: str, value: object) -> None:
        """Set a value of a page of parameters, or what a function makes of the present one."""
        change(self.folder / "params" / "mini" / f"{page}.yaml", place, value)

    def ran(self) -> list[str]:
        log = self.folder / "ran.log"
        return log.read_text().split() if log.exists() else []

    def _jobs(self, *command: str) -> set[str]:
        before = len(self.ran())
        self.run(*command)
        new = self.ran()[before:]
        assert len(new) == len(set(new)), f"ran twice: {new}"
        return set(new)
