"""The cluster's profile: what each rule asks of Slurm, by the executor's own rules."""

import re
import shlex
from types import SimpleNamespace

import pytest

pytest.importorskip(
    "snakemake_executor_plugin_slurm",
    reason="no executor for Slurm: pip install snakemake-executor-plugin-slurm",
)
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.validation import validate_slurm_extra

TRAININGS = ("pretrain", "coco", "ade20k")
EVALUATIONS = ("evaluate_imagenet", "evaluate_coco", "evaluate_ade20k")
ON_CPUS = ("archives_coco", "figures_coco", "complexity", "costs", "claims", "overview", "report")
# How the lines for one node and those for several begin in the profile.
STARTS = (("", "         # one node, a process a GPU"), ("# ", ""))


class Resources(dict):
    """A job's resources as the executor reads them: by key and by attribute."""

    __getattr__ = dict.__getitem__


@pytest.fixture(scope="session")
def submitted(copy_unbuilt, tmp_path_factory):
    """The options of sbatch for one job of each rule."""
    return planned(copy_unbuilt(tmp_path_factory.mktemp("one")), "slurm")


def planned(checkout, profile: str) -> dict[str, dict[str, str]]:
    """Return the options of sbatch for one job of each rule, from what a dry run says that it asks for."""
    printed = checkout.run("snakemake", "-n", "--profile", profile)
    lines = {}
    for rule, text in re.findall(r"^rule (\w+):\n((?:    .*\n)+)", printed, re.MULTILINE):
        asked = re.search(r"resources: (.*)$", text, re.MULTILINE)[1]
        lines[rule] = sbatch(asked)
    return lines


def sbatch(asked: str) -> dict[str, str]:
    resources = Resources(
        {
            key: int(value) if value.isdecimal() else value
            for key, value in re.findall(r"(\w+)=([^, ]+)", asked)
        }
    )
    given = {
        **{"run_uuid": "run", "slurm_logfile": "log", "comment_str": "rule", "workdir": "/project"},
        "account": f"-A {resources.slurm_account}",
        "partition": f"-p {resources.slurm_partition}",
    }
    validate_slurm_extra(SimpleNamespace(resources=SimpleNamespace(**resources)))
    settings = SimpleNamespace(requeue=True, no_requeue=False, qos=None, reservation=None)
    words = shlex.split(get_submit_command(SimpleNamespace(resources=resources, threads=1), given, settings))
    options: dict[str, str] = {}
    for word, following in zip(words, [*words[1:], "-"], strict=True):
        name, _, value = word.partition("=")
        if word.startswith("-"):
            options[name] = value or ("" if following.startswith("-") else following)
    # The executor adds what it derives from `gpu` elsewhere.
    options["gpus"] = str(resources.get("gpu", ""))
    return options


@pytest.mark.parametrize("rule", TRAININGS)
def test_a_training_has_the_gpus_of_one_node_and_is_requeued(submitted, rule):
    line = submitted[rule]
    assert (line["-p"], line["gpus"], line["--cpus-per-gpu"]) == ("gpu", "8", "8")
    # Without it Slurm may gather the GPUs from several nodes.
    assert line["--nodes"] == "1"
    assert (line["--mem"], line["-t"]) == ("200000", "2880")
    assert "--requeue" in line
    # The training starts its processes; more tasks would each start all of them.
    assert not {"--ntasks-per-gpu", "--ntasks-per-node"} & set(line)
    assert line.get("--ntasks", "1") == "1"


@pytest.fixture(scope="session")
def over_nodes(copy_unbuilt, tmp_path_factory):
    """The same once the profile's lines for several nodes are taken, as its comment tells."""
    checkout = copy_unbuilt(tmp_path_factory.mktemp("several"))
    profile = checkout.folder / "slurm" / "config.yaml"
    lines = profile.read_text().splitlines()
    begin, comment = (lines.index(f"  {sign}pretrain: &training{rest}") for sign, rest in STARTS)
    end = next(number for number in range(comment, len(lines)) if not lines[number].startswith("  # "))
    taken = [line.replace("  # ", "  ", 1) for line in lines[comment:end]]
    profile.write_text("\n".join([*lines[:begin], *taken, *lines[end:]]))
    return planned(checkout, "slurm")


@pytest.mark.slow
@pytest.mark.parametrize("rule", TRAININGS)
def test_a_training_over_several_nodes_has_all_gpus_of_each(over_nodes, rule):
    line = over_nodes[rule]
    assert (line["--nodes"], line["--ntasks"], line["--gpus-per-node"]) == ("2", "2", "8")
    assert (line["--cpus-per-task"], line["--mem"], line["-t"]) == ("64", "200000", "2880")
    assert line["gpus"] == ""
    assert "--requeue" in line


@pytest.mark.parametrize("rule", EVALUATIONS)
def test_an_evaluation_has_one_gpu(submitted, rule):
    line = submitted[rule]
    assert (line["-p"], line["gpus"], line["--cpus-per-gpu"], line["-t"]) == ("gpu", "1", "8", "240")


@pytest.mark.parametrize("dataset", ["imagenet", "coco", "ade20k"])
def test_a_preparation_has_cores_and_no_gpu(submitted, dataset):
    line = submitted[f"prepare_{dataset}"]
    assert (line["-p"], line["gpus"], line["--cpus-per-task"], line["--mem"]) == ("cpu", "", "8", "16000")


@pytest.mark.parametrize("rule", ON_CPUS)
def test_what_is_left_runs_on_the_cheap_partition(submitted, rule):
    line = submitted[rule]
    assert (line["-p"], line["gpus"], line["--ntasks"], line["-t"]) == ("cpu", "", "1", "120")
    assert line["-A"] == "default"
