"""What users do to a project, in random order; after each action the results are those of a run from nothing."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import fake_work
from workflow_repository import Checkout

from jobs import describe
from pacavit import params
from pacavit.files import MANIFEST
from pacavit.pipeline import targets
from pages import change

VALUES = {
    ("coco", "recipe.global_batch"): (8, 16, 24, 32, 40),
    ("ade20k", "heads.paca.cluster_loss_weight"): (0.4, 0.5, 0.6, 0.7),
    ("pretrain", "recipe.lr"): (1e-3, 2e-3, 3e-3, 4e-3),
    ("evaluate", "imagenet.keep"): (32, 16, 8, 4),
    ("claims", "last_places"): (1, 2, 3),
    ("figures", "report.title"): ("One", "Another", "A third"),
    ("targets", "seeds"): ([0], [0, 1], [1]),
    ("targets", "heads"): (["paca", "upernet"], ["paca"], ["upernet"]),
    ("data", "coco.archives.seed"): (0, 1, 2),
}


class Actions:
    """Actions on a working copy, by their names.

    Args:
        checkout: on which everything has run and is committed.
        seed: of the choices.
    """

    NAMES = (
        *("edit", "undo", "delete", "touch", "spoil", "forget", "stash", "go_back", "commit", "kill"),
        *("archives", "lock", "unlocked"),
    )

    def __init__(self, checkout: Checkout, seed: int) -> None:
        self.checkout = checkout
        self.choice = random.Random(seed)
        self.undone: tuple[str, str, object] | None = None

    def act(self) -> str:
        """Do one of them; return its name."""
        name = self.choice.choice(self.NAMES)
        getattr(self, name)()
        return name

    def edit(self) -> None:
        """Give a parameter another value: one of a few, so that some come again."""
        (page, place), values = self.choice.choice(list(VALUES.items()))
        before = None

        def other(value: object) -> object:
            nonlocal before
            before = value
            return self.choice.choice([each for each in values if each != value])

        change(self.checkout.folder / f"params/mini/{page}.yaml", place, other)
        self.undone = (page, place, before)

    def undo(self) -> None:
        if self.undone is not None:
            page, place, value = self.undone
            change(self.checkout.folder / f"params/mini/{page}.yaml", place, value)

    def delete(self) -> None:
        path = self._result()
        if path is not None:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def touch(self) -> None:
        path = self._result()
        if path is not None:
            (path / MANIFEST if path.is_dir() else path).touch()

    def spoil(self) -> None:
        path = self._result()
        if path is not None and path.is_file():
            path.write_text("spoilt")

    def forget(self) -> None:
        shutil.rmtree(self.checkout.folder / ".snakemake/metadata", ignore_errors=True)

    def stash(self) -> None:
        self.checkout.run("git", "stash", "--quiet", check=False)
        if self.choice.random() < 0.5:
            self.checkout.run("git", "stash", "pop", "--quiet", check=False)

    def go_back(self) -> None:
        self.checkout.run("git", "checkout", "--quiet", "HEAD", "--", "params", check=False)
        self.checkout.run("dvc", "checkout", "--quiet", "--force", check=False)

    def commit(self) -> None:
        self.checkout.run("git", "add", "--all")
        self.checkout.run("git", "commit", "--quiet", "--allow-empty", "--message", "Go on")

    def kill(self) -> None:
        """Kill Snakemake, and the jobs that it runs, after an edit that gives it some."""
        self.edit()
        process = subprocess.Popen(
            ["snakemake", "--cores", "2"],
            cwd=self.checkout.folder,
            env=self.checkout.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(self.choice.uniform(2, 8))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.checkout.run("snakemake", "--unlock")

    def archives(self) -> None:
        shutil.rmtree(self.checkout.folder / "data/mini/archives", ignore_errors=True)

    def lock(self) -> None:
        self.checkout.run("git", "checkout", "--quiet", "HEAD", "--", "dvc.lock", check=False)

    def unlocked(self) -> None:
        shutil.rmtree(self.checkout.folder / "work", ignore_errors=True)

    def run(self) -> tuple[str, set[str]]:
        """Type `snakemake` or `dvc repro`; return which, and the jobs that ran."""
        if self.choice.random() < 0.5:
            return "snakemake", self.checkout.snakemake()
        return "dvc repro", self.checkout.dvc_repro()

    def _result(self) -> Path | None:
        there = [
            self.checkout.folder / path
            for path in self.checkout.results()
            if (self.checkout.folder / path).exists()
        ]
        return self.choice.choice(there) if there else None


def from_nothing(checkout: Checkout, scratch: Path) -> dict[str, str]:
    """Return the hashes of all outputs as a run from nothing writes them, by path."""
    shutil.rmtree(scratch, ignore_errors=True)
    for name in ("params", "claims", "workflow"):
        shutil.copytree(checkout.folder / name, scratch / name)
    (scratch / "reports").mkdir()
    shutil.copy(checkout.folder / "reports/benchmarks.json", scratch / "reports")
    with contextlib.chdir(scratch):
        given = params.load("mini")
        for stage, names in targets.jobs(given.targets):
            fake_work.write_outputs(describe(stage, given, names=names))
    return Checkout(scratch).results()
