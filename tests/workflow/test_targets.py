"""Parts of the targets, asked for by name as a user types them."""

import re

import pytest
from ruamel.yaml import YAML


def planned(checkout, *arguments: str) -> dict[str, int]:
    """Return how many jobs of each rule a dry run lists."""
    printed = checkout.run("snakemake", "-n", *arguments)
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", printed, re.MULTILINE)}


@pytest.mark.slow
def test_one_task_runs_what_leads_to_it_and_leaves_the_rest(unbuilt):
    jobs = {job.partition("@")[0] for job in unbuilt.snakemake("only_imagenet")}
    assert jobs == {
        *("archives_imagenet", "prepare_imagenet", "pretrain", "evaluate_imagenet", "figures_imagenet"),
    }
    assert {job.partition("@")[0] for job in unbuilt.snakemake("all")} > {
        "coco",
        "ade20k",
        "claims",
        "report",
    }
    assert not unbuilt.would_run()


def test_one_variant_is_one_variant(unbuilt):
    assert planned(unbuilt, "second_pacavit")["pretrain"] == 1
    assert planned(unbuilt, "main")["pretrain"] == 2


@pytest.mark.slow
def test_the_paper_is_thirteen_variants_and_three_upernets(unbuilt):
    jobs = planned(unbuilt, "--config", "scale=paper")
    assert (jobs["pretrain"], jobs["coco"], jobs["ade20k"], jobs["report"]) == (13, 13, 16, 1)
    main = planned(unbuilt, "main", "--config", "scale=paper")
    assert (main["pretrain"], main["coco"], main["ade20k"]) == (3, 3, 6)
    assert planned(unbuilt, "ablations", "--config", "scale=paper")["pretrain"] == 10
    released = planned(unbuilt, "evaluate_released", "--config", "scale=paper")
    assert released["evaluate_released_imagenet"] == 11
    assert "pretrain" not in released


def test_a_group_with_a_name_that_is_taken_is_one_line(unbuilt):
    unbuilt.edit("targets", "main:", "coco:")
    printed = unbuilt.run("snakemake", "-n", check=False)
    assert "params/mini/targets.yaml: groups.coco: is the name of a stage" in printed
    assert "Traceback" not in printed


def test_the_slurm_profile_plans_the_paper_on_gpus(unbuilt):
    printed = unbuilt.run("snakemake", "-n", "--profile", "slurm", "main")
    training = re.search(r"rule pretrain:.*?resources: (.*?)$", printed, re.DOTALL | re.MULTILINE)[1]
    assert {"gpu=8", "slurm_partition=gpu", "runtime=2880"} <= set(training.split(", "))
    drawing = re.search(r"rule figures_coco:.*?resources: (.*?)$", printed, re.DOTALL | re.MULTILINE)[1]
    assert "slurm_partition=cpu" in drawing.split(", ")
    assert "gpu=" not in drawing


@pytest.mark.parametrize("form", ["--config", "--configfile"])
def test_an_unknown_key_of_the_configuration_plans_nothing(unbuilt, form):
    (unbuilt.folder / "mine.yaml").write_text("scal: paper\n")
    value = {"--config": "scal=paper", "--configfile": "mine.yaml"}[form]
    printed = unbuilt.run("snakemake", "-n", form, value, check=False)
    assert "pacavit: --config scal=paper: unknown key; expected scale; did you mean 'scale'?" in printed
    assert "Traceback" not in printed
    assert "pretrain" not in printed


def test_a_resource_that_would_drop_those_of_the_profile_submits_nothing(unbuilt):
    printed = unbuilt.run(
        "snakemake", "-n", "--profile", "slurm", "--set-resources", "pretrain:gpu=4", check=False
    )
    assert "pacavit: --set-resources replaces that whole section of the profile slurm" in printed
    assert "rule pretrain" not in printed


def test_a_conflict_in_dvcs_lock_ends_the_plan_in_one_line(unbuilt):
    stages = 'schema: "2.0"\nstages: {}\n'
    (unbuilt.folder / "dvc.lock").write_text(f"<<<<<<< HEAD\n{stages}=======\n{stages}>>>>>>> other\n")
    printed = unbuilt.run("snakemake", "-n", check=False)
    assert "pacavit: dvc.lock: conflict of Git's at line 1; take one side" in printed
    assert "Traceback" not in printed


@pytest.mark.slow
def test_dvc_has_a_peer_in_a_file_of_its_own_once_it_has_run(unbuilt):
    ran = unbuilt.snakemake("mini_swin")
    assert {"pretrain@mini_swin-0", "ade20k@mini_swin-upernet-0", "archives_coco"} <= ran
    locks = {
        file: set(YAML(typ="safe").load(unbuilt.folder / file)["stages"])
        for file in ("dvc.lock", "pipelines/mini/optional/dvc.lock")
    }
    own = {job for job in ran if "mini_swin" in job}
    assert locks == {
        "dvc.lock": {"code", *(ran - own)},
        "pipelines/mini/optional/dvc.lock": {job.replace("@", "-") for job in own},
    }
    assert unbuilt.snakemake("mini_swin") == set()
    unbuilt.run("dvc", "repro", "pipelines/mini/optional/dvc.yaml:evaluate_coco-mini_swin-0")
    assert set(unbuilt.ran()) == ran
