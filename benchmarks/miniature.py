"""The miniature's data in a folder of its own, and jobs on it with recipes of any scale."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from prepare import ROOT

from pacavit import params
from pacavit.job import Job
from pacavit.pipeline.run import describe
from pacavit.pipeline.table import Names
from pacavit.tracking import Run

#: Of the miniature's pages: where a benchmark takes its data from.
SCALE = "mini"


@contextmanager
def prepared(datasets: Sequence[str]) -> Iterator[None]:
    """Prepare the miniature's data sets in a new folder, which is the current one as long as the block lasts."""
    back = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            os.symlink(ROOT / "params", "params")
            for dataset in datasets:
                for step in ("archives", "prepare"):
                    subprocess.run(
                        [sys.executable, "-m", "pacavit", step, dataset],
                        env={**os.environ, "PACAVIT_TRACKING": "off"},
                        check=True,
                        stdout=subprocess.DEVNULL,
                    )
            yield
        finally:
            os.chdir(back)


def create_job(
    stage: str, run: Run, recipes: params.Params, names: Names, inputs: dict[str, Path] | None = None
) -> Job:
    """Return a job on the miniature's data whose outputs lie in the run's folder.

    Args:
        stage: its name.
        run: where it logs.
        recipes: pages of parameters, of any scale.
        names: of the job.
        inputs: files in place of the ones that the pipeline would give it.
    """
    job = describe(stage, SCALE, names, recipes, run.folder.name, run.folder, run)
    return replace(
        job,
        inputs={**job.inputs, **(inputs or {})},
        outputs={key: run.folder / path.name for key, path in job.outputs.items()},
    )
