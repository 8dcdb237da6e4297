"""The table of stages: what each reads, writes and depends on, and the jobs that follow from the targets."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from pacavit import params
from pacavit.errors import PacavitError
from pacavit.pipeline import targets
from pacavit.pipeline.table import STAGES
from pacavit.tasks import TASKS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def loaded(project):
    return params.load("mini")


def all_outputs(loaded, scale="mini", target="all") -> list[str]:
    jobs = targets.jobs(loaded.targets, target)
    return [str(path) for job in jobs for path in targets.outputs(job[0], scale, job[1]).values()]


def test_no_two_jobs_write_the_same_path(loaded):
    outputs = all_outputs(loaded)
    assert len(outputs) == len(set(outputs))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_reads_outputs_of_stages_above_it_and_files_of_the_repository(stage):
    spec = STAGES[stage]
    for text in (*spec.inputs.values(), *spec.aggregates, *spec.optional):
        found = targets.ref(text)
        if found is None:
            assert (ROOT / text).is_file()
        else:
            assert found.output in STAGES[found.stage].outputs
            assert list(STAGES).index(found.stage) < list(STAGES).index(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_a_pattern_names_the_scale_and_the_wildcards_of_its_stage(stage):
    spec = STAGES[stage]
    filled = dict.fromkeys(("scale", *spec.wildcards), "x")
    for output in spec.outputs.values():
        assert "{" not in output.path.format(**filled)
        assert all(f"{{{wildcard}}}" in output.path for wildcard in ("scale", *spec.wildcards))
    assert all(f"{{{wildcard}}}" in spec.command for wildcard in spec.wildcards)


@pytest.mark.parametrize("stage", STAGES)
def test_a_caption_and_a_thread_count_are_there(stage):
    assert STAGES[stage].threads >= 1
    for output in STAGES[stage].outputs.values():
        assert (output.caption is None) == (output.category is None)
        assert output.caption is None or (ROOT / "workflow/report" / output.caption).is_file()


def test_the_report_reads_every_result_that_it_shows(loaded):
    read = set(targets.inputs("report", "mini", {}).values())
    read |= {
        path for files in targets.aggregated("report", "mini", loaded.targets).values() for _, path in files
    }
    shown = {"curves", "metrics", "figures", "clusters"}
    expected = {
        path
        for path in all_outputs(loaded)
        if path.split("/")[0] == "reports" and path.split("/")[2] in shown
    }
    assert expected <= set(map(str, read))


def test_every_parameter_key_exists(loaded):
    for stage, names in targets.jobs(loaded.targets):
        keys = STAGES[stage].params
        assert set(params.select(loaded, keys, **names)) == {key.format(**names) for key in keys}


def test_a_seed_of_snakemake_is_the_number_that_the_page_has():
    wildcards = {"variant": "test_pacavit", "seed": "0"}
    assert targets.names_of("coco", wildcards) == {"variant": "test_pacavit", "seed": 0}


def test_a_job_has_the_name_that_dvc_gives_it():
    assert targets.name("prepare_coco", {}) == "prepare_coco"
    names = {"seed": 0, "head": "paca", "variant": "test_pacavit"}
    assert targets.name("ade20k", names) == "ade20k@test_pacavit-paca-0"


@pytest.fixture
def paper(project):
    """The targets of the paper scale, beside the published numbers that name the released weights."""
    shutil.copytree(ROOT / "claims", project / "claims")
    return params.load("paper").targets


def counted(wanted, target: str) -> dict[str, int]:
    return Counter(stage for stage, _ in targets.jobs(wanted, target))


def test_everything_is_each_variant_and_seed_but_upernet_for_those_published(paper):
    jobs = counted(paper, "all")
    assert (jobs["pretrain"], jobs["coco"], jobs["ade20k"]) == (13, 13, 13 + 3)
    assert jobs["report"] == jobs["claims"] == jobs["complexity"] == 1
    assert counted(paper.model_copy(update={"seeds": [0, 1, 2]}), "all")["pretrain"] == 39


def test_a_group_or_a_variant_is_trained_measured_and_drawn_on_every_task(paper):
    assert counted(paper, "main") == {
        **{f"{step}_{data}": 1 for step in ("archives", "prepare") for data in TASKS},
        **{"pretrain": 3, "evaluate_imagenet": 3, "figures_imagenet": 3},
        **{"coco": 3, "evaluate_coco": 3, "figures_coco": 3},
        **{"ade20k": 6, "evaluate_ade20k": 6, "figures_ade20k": 6, "clusters": 6},
    }
    assert counted(paper, "ablations")["pretrain"] + 3 == 13
    one = targets.jobs(paper, "pacavit_small_p2cconv_2_0")
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
    assert not any(STAGES[stage].released for stage in counted(paper, "all"))


def test_every_job_of_every_target_reads_what_another_makes(paper):
    for target in targets.target_names(paper):
        jobs = targets.jobs(paper, target)
        made = {path for stage, names in jobs for path in targets.outputs(stage, "paper", names).values()}
        for stage, names in jobs:
            read = targets.inputs(stage, "paper", names)
            assert {path for key, path in read.items() if targets.ref(STAGES[stage].inputs[key])} <= made


def test_an_unknown_target_names_the_known_ones(paper):
    with pytest.raises(
        PacavitError, match=r"'base': unknown; choose one of all, main, ablations, only_imagenet"
    ):
        targets.jobs(paper, "base")
