"""What of a run of Snakemake is committed to DVC."""

import json
from pathlib import Path

import pytest

from pacavit import bridge, params, paths, stages
from pages import change

JOB = ("pretrain", {"variant": "test_pacavit", "seed": 0})


@pytest.fixture
def mark(project):
    """The mark of a job whose outputs are there."""
    stage, names = JOB
    for path in stages.written(stage, "mini", names):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    given = params.load("mini")
    stages.mark(stage, "mini", names, params.select(given, stages.STAGES[stage].params, **names))
    return json.loads(paths.path(paths.MARK, job=stages.name(stage, names)).read_text())


def test_a_job_holds_as_it_ran(mark):
    assert bridge._holds(mark, "mini", params.load("mini"))


def test_a_job_whose_parameters_were_edited_meanwhile_does_not(mark, project):
    change(project / "params/mini/pretrain.yaml", "recipe.lr", lambda rate: 2 * rate)
    assert not bridge._holds(mark, "mini", params.load("mini"))


def test_a_job_that_lost_an_output_does_not(mark):
    Path(stages.written(JOB[0], "mini", JOB[1])[0]).unlink()
    assert not bridge._holds(mark, "mini", params.load("mini"))


def test_a_job_of_another_scale_or_no_target_does_not(mark):
    assert not bridge._holds(mark, "paper", params.load("mini"))
    assert not bridge._holds({**mark, "names": {**mark["names"], "seed": 5}}, "mini", params.load("mini"))
