"""The table of stages: what each reads, writes and depends on."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from filelock import FileLock

from pacavit import params, paths, stages
from pacavit.errors import PacavitError

ROOT = Path(__file__).resolve().parent.parent

#: What stages read that no stage writes.
COMMITTED = (paths.PUBLISHED, paths.BENCHMARKS)


@pytest.fixture
def loaded(project):
    return params.load("mini")


def all_outputs(loaded) -> list[str]:
    return [path for job in stages.jobs(loaded.targets) for path in stages.written(job[0], "mini", job[1])]


def test_no_two_jobs_write_the_same_path(loaded):
    outputs = all_outputs(loaded)
    assert len(outputs) == len(set(outputs))


def test_every_input_is_in_the_repository_or_the_output_of_a_stage(loaded):
    outputs = {*all_outputs(loaded), *COMMITTED}
    for stage, names in stages.jobs(loaded.targets):
        for pattern in stages.STAGES[stage].inputs.values():
            assert str(paths.path(pattern, scale="mini", **names)) in outputs


def test_the_report_reads_every_table_metric_curve_and_figure(loaded):
    gathered = set(stages.gathered("report", "mini", loaded.targets))
    assert gathered == {path for path in all_outputs(loaded) if path.startswith("reports/mini/")}


def test_the_ledger_reads_the_metrics_of_every_target(loaded):
    gathered = stages.gathered("claims", "mini", loaded.targets)
    assert {path.split("/")[3] for path in gathered} == {"imagenet", "coco", "ade20k"}
    assert all(path.startswith("reports/mini/metrics/") for path in gathered)


def test_every_parameter_key_exists(loaded):
    for stage, names in stages.jobs(loaded.targets):
        keys = stages.STAGES[stage].params
        assert set(params.select(loaded, keys, **names)) == {key.format(**names) for key in keys}


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


def test_other_data_other_parameters_and_other_names_have_work_folders_of_their_own(project):
    data = project / "data.txt"
    data.write_text("one")

    def of(seed=0, epochs=3):
        return stages._fingerprint("pretrain", "mini", {"seed": seed}, {"epochs": epochs}, {"data": data})

    before = of()
    assert of() == before
    assert len({before, of(seed=1), of(epochs=4)}) == 3
    data.write_text("two")
    assert of() != before


def test_two_processes_cannot_run_one_job(project, monkeypatch):
    monkeypatch.setattr(stages, "_LOCK_SECONDS", 0)
    work = project / "work"
    with stages.locked(work), pytest.raises(PacavitError, match="another process is running this job"):
        with stages.locked(work):
            pass
    assert FileLock(work / "lock").acquire(timeout=0)


@pytest.fixture
def paper(project):
    """The targets of the paper scale, beside the published numbers that name the released weights."""
    shutil.copytree(ROOT / "claims", project / "claims")
    return params.load("paper").targets


def counted(wanted, target: str) -> dict[str, int]:
    return Counter(stage for stage, _ in stages.jobs(wanted, target))


def test_everything_is_each_variant_and_seed_but_upernet_for_those_published(paper):
    jobs = counted(paper, "all")
    assert (jobs["pretrain"], jobs["coco"], jobs["ade20k"]) == (13, 13, 13 + 3)
    assert jobs["report"] == jobs["claims"] == jobs["complexity"] == 1
    assert counted(paper.model_copy(update={"seeds": [0, 1, 2]}), "all")["pretrain"] == 39


def test_a_group_or_a_variant_is_trained_measured_and_drawn_on_every_task(paper):
    assert counted(paper, "main") == {
        **{f"{step}_{data}": 1 for step in ("archives", "prepare") for data in stages.DATASETS},
        **{"pretrain": 3, "evaluate_imagenet": 3, "figures_imagenet": 3},
        **{"coco": 3, "evaluate_coco": 3, "figures_coco": 3},
        **{"ade20k": 6, "evaluate_ade20k": 6, "figures_ade20k": 6, "clusters": 6},
    }
    assert counted(paper, "ablations")["pretrain"] + 3 == 13
    one = stages.jobs(paper, "pacavit_small_p2cconv_2_0")
    assert {names["variant"] for _, names in one if names} == {"pacavit_small_p2cconv_2_0"}
    assert {names["head"] for _, names in one if "head" in names} == {"paca"}


def test_one_task_takes_the_pretraining_along_and_no_other_task(paper):
    assert set(counted(paper, "only_coco")) == {
        *("archives_imagenet", "prepare_imagenet", "pretrain"),
        *("archives_coco", "prepare_coco", "coco", "evaluate_coco", "figures_coco"),
    }
    assert "coco" not in counted(paper, "only_imagenet")


def test_the_released_weights_are_measured_without_training(paper):
    jobs = counted(paper, "evaluate_released")
    assert jobs["evaluate_released_imagenet"] == 11  # twelve links, two of them to one file
    assert (jobs["evaluate_released_coco"], jobs["evaluate_released_ade20k"]) == (12, 15)
    assert not {"pretrain", "coco", "ade20k"} & set(jobs)
    assert not any(stages.STAGES[stage].released for stage in counted(paper, "all"))


def test_every_job_of_every_target_reads_what_another_makes(paper):
    for target in stages.target_names(paper):
        jobs = stages.jobs(paper, target)
        made = {path for stage, names in jobs for path in stages.written(stage, "paper", names)}
        for stage, names in jobs:
            for pattern in stages.STAGES[stage].inputs.values():
                assert str(paths.path(pattern, scale="paper", **names)) in {*made, *COMMITTED}


def test_an_unknown_target_names_the_known_ones(paper):
    with pytest.raises(
        PacavitError, match=r"'base': unknown; choose one of all, main, ablations, only_imagenet"
    ):
        stages.jobs(paper, "base")


def test_a_stage_that_gathers_takes_what_is_there_and_says_what_is_not(project, capsys):
    wanted = ["here.json", "there.json"]
    Path("here.json").touch()
    assert not stages._check_gathered("report", wanted)
    assert (
        "report: 1 results of other stages are not there yet and left out, such as there.json"
        in capsys.readouterr().out
    )
    Path("there.json").touch()
    assert stages._check_gathered("report", wanted)
