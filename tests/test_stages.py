"""The table of stages: what each reads, writes and depends on."""

import json

import pytest
from filelock import FileLock

from pacavit import params, paths, stages
from pacavit.errors import PacavitError


@pytest.fixture
def loaded(project):
    return params.load("mini")


def all_outputs(loaded) -> list[str]:
    return [path for stage in stages.STAGES for path in stages.outputs(stage, "mini", loaded.targets)]


def test_no_two_jobs_write_the_same_path(loaded):
    outputs = all_outputs(loaded)
    assert len(outputs) == len(set(outputs))


def test_every_input_is_in_the_repository_or_the_output_of_a_stage(loaded):
    outputs = {*all_outputs(loaded), paths.PUBLISHED}
    for stage, spec in stages.STAGES.items():
        for names in stages.targets(stage, loaded.targets):
            for pattern in spec.inputs.values():
                assert str(paths.path(pattern, scale="mini", **names)) in outputs


def test_the_report_reads_every_table_metric_curve_and_figure(loaded):
    gathered = set(stages.gathered("report", "mini", loaded.targets))
    assert gathered == {path for path in all_outputs(loaded) if path.startswith("reports/mini/")}


def test_the_ledger_reads_the_metrics_of_every_target(loaded):
    gathered = stages.gathered("claims", "mini", loaded.targets)
    assert {path.split("/")[3] for path in gathered} == {"imagenet", "coco", "ade20k"}
    assert all(path.startswith("reports/mini/metrics/") for path in gathered)


def test_every_parameter_key_exists(loaded):
    for stage, spec in stages.STAGES.items():
        for names in stages.targets(stage, loaded.targets):
            assert set(params.select(loaded, spec.params, **names)) == {
                key.format(**names) for key in spec.params
            }


def test_a_job_has_the_name_that_dvc_gives_it():
    assert stages.name("prepare_coco", {}) == "prepare_coco"
    names = {"seed": 0, "head": "paca", "variant": "test_pacavit"}
    assert stages.name("ade20k", names) == "ade20k@test_pacavit-paca-0"


def test_a_mark_tells_the_job_and_its_parameters(project):
    names = {"variant": "test_pacavit", "seed": 0}
    stages.mark("pretrain", "mini", names, {"pretrain:recipe": {"epochs": 3}})
    mark = json.loads(paths.path(paths.MARK, job="pretrain@test_pacavit-0").read_text())
    assert mark["params"] == {"pretrain:recipe": {"epochs": 3}}
    assert mark["names"] == names


def test_two_processes_cannot_run_one_job(project):
    work = project / "work"
    with stages.locked(work), pytest.raises(PacavitError, match="another process is running this job"):
        with stages.locked(work):
            pass
    assert FileLock(work / "lock").acquire(timeout=0)
