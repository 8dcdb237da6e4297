"""Jobs of the data stages with few pictures."""

from pathlib import Path

import pytest
from few_pictures import MODULES

from pacavit import params, paths, stages
from pacavit.data import sources
from pacavit.tracking import Run


@pytest.fixture
def make_job(project):
    """A function that returns a job of a data stage, with few pictures."""
    given = params.load("mini")

    def make(stage: str, **changed) -> stages.Job:
        dataset = stage.split("_")[1]
        section = getattr(given.data, dataset)
        source = section.archives.model_copy(update={"train_images": 40, "val_images": 12, **changed})
        data = given.data.model_copy(update={dataset: section.model_copy(update={"archives": source})})
        pages = {**vars(given), "data": data}
        spec = stages.STAGES[stage]
        return stages.Job(
            stage=stage,
            scale="mini",
            names={},
            params=params.Params(**pages),
            inputs={name: paths.path(p, scale="mini") for name, p in spec.inputs.items()},
            outputs={name: paths.path(p, scale="mini") for name, p in spec.outputs.items()},
            fingerprint="test",
            work=project / "work",
            run=Run(None),
        )

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
