"""The whole check of a GPU in one command: the tests of tests/gpu, then the benchmarks, and a short table last.

    python benchmarks/gpu.py FOLDER [--only tests --only models] [--scale 1.5] [--rehearse]

Each section is a process with a time limit of its own; what fails, or takes too long, is noted and stops nothing else.
FOLDER gets a log a section, the tests' outcomes (``tests.jsonl``) and ``benchmarks.json``. ``--rehearse`` tries all of
it on a processor, at small sizes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
SUITE = "benchmarks/suite.py"
#: A line of JSON a test.
OUTCOMES = "tests.jsonl"


@dataclass(frozen=True)
class Section:
    """A part of the check: its command, and how long it may take, in seconds."""

    name: str
    command: list[str]
    limit: float


def sections(folder: Path) -> list[Section]:
    """Return all parts, the quick and needed ones first."""
    together = ["-n", "8", "--dist", "worksteal"] if find_spec("xdist") else []
    tests = [sys.executable, "-m", "pytest", "tests/gpu", "-v", *together]

    def suite(name: str, rounds: int) -> list[str]:
        options = ["--device", "cuda", "--only", name, "--rounds", str(rounds)]
        return [sys.executable, SUITE, *options, "--json", str(folder / "benchmarks.json")]

    return [
        Section("machine", ["nvidia-smi"], 20),
        Section("tests", [*tests, "-m", "not slow"], 300),
        Section("profile", suite("profile", 1), 60),
        Section("models", suite("models", 5), 240),
        Section("updates", suite("updates", 20), 180),
        Section("scaling", suite("scaling", 6), 90),
        Section("compiled", suite("compiled", 5), 480),
        Section("compilations", [*tests, "-m", "slow"], 480),
    ]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--only", multiple=True, metavar="SECTION", help="Leave the other sections out.")
@click.option("--scale", default=1.0, show_default=True, help="Factor of all time limits.")
@click.option("--rehearse", is_flag=True, help="Try it on a processor.")
def main(folder: Path, only: tuple[str, ...], scale: float, rehearse: bool) -> None:
    """Check the GPU, and write what is found into FOLDER."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for section in sections(folder):
        if not only or section.name in only:
            outcomes.append((section.name, *_run(section, folder, section.limit * scale, rehearse)))
            name, code, taken = outcomes[-1]
            print(f"{name}: {_told(code)}, {taken:.0f} s", flush=True)
    print(_summary(outcomes, _tests(folder), folder / "benchmarks.json"))


def _run(section: Section, folder: Path, limit: float, rehearse: bool) -> tuple[int | None, float]:
    """Run a section; return its exit code, or None if it was ended at its limit, and the seconds it took."""
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "PACAVIT_TRACKING": "off",
        "PACAVIT_TEST_OUTCOMES": str(folder / OUTCOMES),
    }
    # The tests run beside each other, and so do the models that are compiled.
    environment.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    if rehearse:
        environment["PACAVIT_TEST_DEVICE"] = "cpu"
    start = time.monotonic()
    with open(folder / f"{section.name}.log", "w") as log:
        try:
            # A session of its own, so that its children can be ended with it.
            process = subprocess.Popen(
                section.command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        except OSError as error:
            log.write(f"{error}\n")
            return 127, 0.0
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return code, time.monotonic() - start


def _told(code: int | None) -> str:
    return "ended at its limit" if code is None else "done" if code == 0 else f"exit code {code}"


def _tests(folder: Path) -> list[dict]:
    """Return each test that ended, with its outcome and what it measured."""
    path = folder / OUTCOMES
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _summary(outcomes: list, tests: list[dict], benchmarks: Path) -> str:
    """Return the sections, the tests that failed, and the ratios to peers."""
    lines = [
        "",
        "== sections",
        *(f"{name:10} {taken:5.0f} s  {_told(code)}" for name, code, taken in outcomes),
    ]
    counts = Counter(test["outcome"] for test in tests)
    lines += ["== tests", "  ".join(f"{outcome}: {count}" for outcome, count in sorted(counts.items()))]
    lines += [
        f"{test['test']}: {' '.join(test['fault'].split())[:160]}"
        for test in tests
        if test["outcome"] == "failed"
    ]
    if benchmarks.exists():
        lines.append("== against peers")
        for title, figures in json.loads(benchmarks.read_text())["sections"].items():
            lines += [
                f"{figure['median']:8.3g} {figure['unit']:8} {figure['name']}"
                for figure in figures
                if " against " in figure["name"] or figure["name"] in ("product in bf16", "copy")
                if " on " in title
            ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
