"""Jobs for tests that call a stage's function themselves."""

from dataclasses import replace
from pathlib import Path

from pacavit import params
from pacavit.job import Job
from pacavit.pipeline import run
from pacavit.tracking import Run


def describe(
    stage: str,
    given: params.Params,
    scale: str = "mini",
    work: Path | None = None,
    names: dict | None = None,
    **replaced,
) -> Job:
    """Return what a stage's function is given; without a work folder it tracks nothing.

    Args:
        stage: name of the stage.
        given: parameters, as loaded or with other values.
        scale: folder below ``params/``.
        work: work folder.
        names: wildcards and their values.
        replaced: attributes of the job with other values.
    """
    job = run.describe(stage, scale, names or {}, given, "test", work or Path("work"), Run(work))
    return replace(job, **replaced)


def with_archives(given: params.Params, dataset: str, source: dict) -> params.Params:
    """Return parameters by which a data set comes from another source."""
    return with_data(given, dataset, "archives", source)


def with_data(given: params.Params, dataset: str, section: str, values: dict) -> params.Params:
    """Return parameters with a section of a data set's page in place of the present one."""
    page = given.data.model_dump(mode="json")
    page[dataset][section] = values
    return params.Params(**{**vars(given), "data": params.DataPage.model_validate(page)})
