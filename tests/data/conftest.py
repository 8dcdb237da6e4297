"""Jobs of the data stages with few pictures."""

from pathlib import Path

import pytest
from few_pictures import MODULES

from jobs import describe, with_archives
from pacavit import params
from pacavit.data import sources
from pacavit.job import Job


@pytest.fixture
def make_job(project):
    """A function that returns a job of a data stage, with few pictures."""
    given = params.load("mini")

    def make(stage: str, **changed) -> Job:
        dataset = stage.split("_")[1]
        few = {"kind": "digits", "seed": 0, "train_images": 40, "val_images": 12, **changed}
        return describe(stage, with_archives(given, dataset, few))

    return make


@pytest.fixture
def prepared(make_job):
    """A function that makes and prepares a data set and returns its folder."""

    def prepare(dataset: str, **changed) -> Path:
        sources.provide(make_job(f"archives_{dataset}", **changed))
        job = make_job(f"prepare_{dataset}", **changed)
        MODULES[dataset].prepare(job)
        return job.outputs["data"]

    return prepare


@pytest.fixture
def from_source(project):
    """A function that returns the jobs that provide and prepare a data set from a source."""

    def create(dataset: str, **source) -> tuple[Job, Job]:
        given = with_archives(params.load("mini"), dataset, source)
        return describe(f"archives_{dataset}", given), describe(f"prepare_{dataset}", given)

    return create
