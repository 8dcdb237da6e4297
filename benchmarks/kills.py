"""Killing trainings at random instants: does what they end with differ from an undisturbed run's?

    python benchmarks/kills.py [--kills 10] [--task pretrain] [--ranks 1] [--json OUT]

Each trial starts a small training on digits, sends it SIGKILL or SIGTERM in turn at a random instant between the moment
its model is built and its usual end, starts it again until it ends by itself, and compares final weights and learning
curve with those of an undisturbed run of as many processes. With several processes the launcher gets the signal.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from pacavit.files import sha256

ROOT = Path(__file__).resolve().parents[1]
SCALE, VARIANT = "mini", "test_pacavit"
TASKS = ("pretrain", "coco", "ade20k")

#: Values that make the miniature's recipes last some seconds, with several states and a validation in between.
SMALL = {
    "data": {"train_images": 64, "val_images": 16},
    "pretrain": {"epochs": 4, "global_batch": 8, "micro_batch": 2, "workers": 1, "checkpoint_updates": 3},
    "coco": {
        **{"epochs": 2, "drop_epochs": "[1]", "validate_epochs": 1, "global_batch": 4, "micro_batch": 2},
        **{"workers": 1, "warmup_updates": 4, "log_updates": 3, "checkpoint_updates": 4},
    },
    "ade20k": {
        **{"updates": 30, "validate_updates": 10, "global_batch": 4, "micro_batch": 2},
        **{"workers": 1, "warmup_updates": 4, "log_updates": 3, "checkpoint_updates": 4},
    },
}


@dataclass
class Trial:
    """One disturbed training: when it was hit, what it gave, and whether it ended as the undisturbed one."""

    task: str
    ranks: int
    signal: str
    seconds: float
    exit_code: int
    resumed_from: int | None
    differs: list[str]

    @property
    def same(self) -> bool:
        return not self.differs


class Training:
    """A task's command in a project of its own."""

    def __init__(self, folder: Path, task: str, ranks: int) -> None:
        self.folder, self.task = folder, task
        self.environment = {
            **os.environ,
            **{"PACAVIT_PROCESSES": str(ranks), "PACAVIT_TRACKING": "off", "OMP_NUM_THREADS": "1"},
        }
        self.environment["PYTHONPATH"] = str(ROOT / "src")
        self.command = [sys.executable, "-m", "pacavit", task, VARIANT, "--scale", SCALE]

    def clean(self) -> None:
        """Remove what earlier runs left."""
        shutil.rmtree(self.folder / "work" / self.task, ignore_errors=True)
        for path in self.products():
            path.unlink(missing_ok=True)

    def products(self) -> list[Path]:
        """Return weights and curve."""
        weights = self.folder.glob(f"checkpoints/{SCALE}/{self.task}/**/*.safetensors")
        curves = self.folder.glob(f"reports/{SCALE}/curves/{self.task}/**/*.csv")
        return sorted([*weights, *curves])

    def hashes(self) -> dict[str, str]:
        """Return the hash of each product."""
        return {str(path.relative_to(self.folder)): sha256(path) for path in self.products()}

    def start(self) -> subprocess.Popen:
        """Start the command; its output goes to a file."""
        with open(self.folder / "output.txt", "w") as output:
            return subprocess.Popen(
                self.command, cwd=self.folder, env=self.environment, stdout=output, stderr=subprocess.STDOUT
            )

    def finish(self) -> int | None:
        """Run to the end; return the update that it went on from."""
        for _ in range(3):
            code = self.start().wait()
            output = (self.folder / "output.txt").read_text()
            if code == 0:
                found = re.search(r"going on from update (\d+)", output)
                return int(found[1]) if found else None
        raise click.ClickException(f"{self.task} does not end by itself:\n{output[-3000:]}")

    def await_model(self, process: subprocess.Popen) -> None:
        """Wait until the model is built, which other work on the machine may delay."""
        while not [*self.folder.glob(f"work/{self.task}/*/identity.json")] and process.poll() is None:
            time.sleep(0.02)

    def undisturbed(self) -> tuple[dict[str, str], float, float]:
        """Return the hashes, and the seconds until the model is built and until the end."""
        self.clean()
        start = time.monotonic()
        process = self.start()
        self.await_model(process)
        began = time.monotonic() - start
        if process.wait():
            raise click.ClickException((self.folder / "output.txt").read_text()[-3000:])
        return self.hashes(), began, time.monotonic() - start


def disturb(training: Training, number: signal.Signals, seconds: float) -> tuple[int, int | None] | None:
    """Return exit code and the update that the next attempt went on from; None where it had ended before."""
    training.clean()
    process = training.start()
    training.await_model(process)
    try:
        process.wait(seconds)
        return None
    except subprocess.TimeoutExpired:
        process.send_signal(number)
    code = process.wait()
    return (code, training.finish()) if code else None


def make_project(folder: Path) -> None:
    """Lay out small pages, data and the weights that fine-tuning starts from."""
    shutil.copytree(ROOT / "params", folder / "params")
    shutil.copytree(ROOT / "claims", folder / "claims")
    for page, values in SMALL.items():
        path = folder / "params" / SCALE / f"{page}.yaml"
        text = path.read_text()
        for key, value in values.items():
            text = re.sub(rf"(?m)^( +){key}: [^#\n]*", rf"\g<1>{key}: {value} ", text)
        path.write_text(text)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "PACAVIT_TRACKING": "off",
        "PACAVIT_WORKERS": "1",
    }
    for dataset in ("imagenet", "coco", "ade20k"):
        for stage in ("archives", "prepare"):
            command = [sys.executable, "-m", "pacavit", stage, dataset, "--scale", SCALE]
            subprocess.run(command, cwd=folder, env=environment, check=True)


def row(trials: list[Trial], task: str, ranks: int) -> str:
    """Return one line of the table."""
    mine = [trial for trial in trials if (trial.task, trial.ranks) == (task, ranks)]
    cells = [task, ranks]
    for name in ("SIGKILL", "SIGTERM"):
        of_signal = [trial for trial in mine if trial.signal == name]
        cells.append(f"{sum(trial.same for trial in of_signal)} of {len(of_signal)}")
    cells.append(sum(trial.resumed_from is not None for trial in mine))
    codes = sorted({trial.exit_code for trial in mine})
    return f"| {' | '.join(map(str, cells))} | {', '.join(map(str, codes))} |"


@click.command(help=__doc__)
@click.option("--kills", default=10, show_default=True, help="Of each task and number of processes.")
@click.option("--task", "tasks", type=click.Choice(TASKS), multiple=True, default=TASKS)
@click.option("--ranks", type=click.IntRange(1), multiple=True, default=(1, 2), show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the instants.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Write every trial.")
def main(kills: int, tasks: tuple[str, ...], ranks: tuple[int, ...], seed: int, target: Path | None) -> None:
    """Run all trials and print the table."""
    draw = random.Random(seed)
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name)
        make_project(folder)
        if "pretrain" not in tasks:
            Training(folder, "pretrain", 1).finish()
        for task in tasks:
            for processes in ranks:
                training = Training(folder, task, processes)
                expected, began, ended = training.undisturbed()
                click.echo(f"{task}, {processes} processes: {ended:.0f} s, of which {began:.0f} s to start")
                while len([t for t in trials if (t.task, t.ranks) == (task, processes)]) < kills:
                    number = (signal.SIGKILL, signal.SIGTERM)[len(trials) % 2]
                    seconds = draw.uniform(0, ended - began)
                    found = disturb(training, number, seconds)
                    if found is None:
                        continue
                    after = training.hashes()
                    differs = [path for path, digest in expected.items() if after.get(path) != digest]
                    trials.append(Trial(task, processes, number.name, round(seconds, 2), *found, differs))
                    click.echo(f"  {trials[-1]}")
    if target is not None:
        target.write_text(json.dumps([asdict(trial) for trial in trials], indent=2) + "\n")
    click.echo("\n| task | processes | SIGKILL, same | SIGTERM, same | went on from a state | exit codes |")
    click.echo("|---|---|---|---|---|---|")
    for task in tasks:
        for processes in ranks:
            click.echo(row(trials, task, processes))
    sys.exit(0 if all(trial.same for trial in trials) else 1)


if __name__ == "__main__":
    main()
