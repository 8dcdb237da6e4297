"""Stands for `pacavit` where the tests are about what runs, not about the work.

All of the program is the real one but the functions of the stages, in whose place :mod:`fake_work` writes the outputs.
"""

import os
import sys
import time
from types import SimpleNamespace

from fake_work import write_outputs

from pacavit import cli
from pacavit.pipeline import run
from pacavit.pipeline.targets import name


def note(log: str, job: str) -> None:
    with open(log, "a") as file:
        file.write(f"{job}\n")


def work(job) -> None:
    title = name(job.stage, job.names)
    note("started.log", title)
    if title == os.environ.get("FAKE_FAILING_JOB"):
        print("a word before", file=sys.stderr)
        sys.exit("pacavit: it fails")
    if title == os.environ.get("FAKE_SLOW_JOB"):
        time.sleep(60)
    write_outputs(job)
    note("ran.log", title)


class Functions:
    """A module in which every function is :func:`work`."""

    def __getattr__(self, function):
        return work


run.importlib = SimpleNamespace(import_module=lambda module: Functions())
cli.main()
