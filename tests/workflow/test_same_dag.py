"""dvc.yaml and the table of stages that Snakemake's rules use state the same jobs."""

import re

import pytest

from pacavit import params, paths, stages

SCALE = "mini"


def dvc_jobs(folder) -> dict[str, dict]:
    """Return DVC's own resolution of dvc.yaml: command, deps, params and outs by job."""
    from dvc.repo import Repo

    jobs = {}
    with Repo(str(folder)) as repo:
        for stage in repo.index.stages:
            deps = {dep.def_path for dep in stage.deps if "params" not in dep.def_path.split("/")[:1]}
            keys = {
                f"{dep.def_path.removeprefix('params/').removeprefix(f'{SCALE}/').removesuffix('.yaml')}:{key}"
                for dep in stage.deps
                if dep.def_path.startswith("params/")
                for key in dep.params
            }
            outs = {out.def_path: out.use_cache for out in stage.outs}
            jobs[stage.addressing.removeprefix("dvc.yaml:")] = {
                "command": stage.cmd,
                "deps": deps,
                "params": keys,
                "outs": outs,
            }
    return jobs


def own_jobs(given: params.Params) -> dict[str, dict]:
    """Return the same from the table of stages."""
    jobs = {}
    small = re.compile(r"reports/\w+/(claims|curves|metrics|tables)/")
    for stage, names in stages.jobs(given.targets):
        spec = stages.STAGES[stage]
        jobs[stages.name(stage, names)] = {
            "command": paths.fill(stages.command(stage), scale=SCALE, **names),
            "deps": {str(paths.path(p, scale=SCALE, **names)) for p in spec.inputs.values()}
            | {folder_of(path) for path in stages.gathered(stage, SCALE, given.targets)},
            "params": {key.format(**names) for key in spec.params},
            "outs": {out: not small.match(out) for out in stages.written(stage, SCALE, names)},
        }
    return jobs


def folder_of(path: str) -> str:
    """Return the folder that stands in dvc.yaml for a file which a stage gathers: `reports/<scale>/<kind>`."""
    return "/".join(path.split("/")[:3])


def test_dvc_states_the_same_jobs(fresh, monkeypatch):
    monkeypatch.chdir(fresh.folder)
    assert dvc_jobs(fresh.folder) == own_jobs(params.load(SCALE))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "      - checkpoints/${scale}/pretrain/${item.variant}/seed${item.seed}.safetensors\n    params",
            "    params",
        ),
        ("pacavit report --scale", "pacavit report  --scale"),
        ("          - imagenet.prepare", "          - imagenet"),
        ("      - reports/index.html", "      - reports/page.html"),
    ],
)
def test_a_difference_is_seen(unbuilt, monkeypatch, old, new):
    dvc_yaml = unbuilt.folder / "dvc.yaml"
    assert old in dvc_yaml.read_text()
    dvc_yaml.write_text(dvc_yaml.read_text().replace(old, new, 1))
    monkeypatch.chdir(unbuilt.folder)
    assert dvc_jobs(unbuilt.folder) != own_jobs(params.load(SCALE))


def test_the_rules_run_the_commands_of_the_table(unbuilt, monkeypatch):
    monkeypatch.chdir(unbuilt.folder)
    printed = unbuilt.run("snakemake", "-n", "--printshellcmds", "--forceall")
    commands = set(re.findall(r"pacavit [^|\n]*?(?= 2>&1)", printed))
    expected = {job["command"] for job in own_jobs(params.load(SCALE)).values()}
    assert commands == expected


def test_a_mistake_in_the_parameters_is_one_line_before_anything_runs(unbuilt):
    unbuilt.edit("pretrain", "epochs:", "epoch:")
    for arguments in (["--cores", "1"], ["-n"]):
        printed = unbuilt.run("snakemake", *arguments, check=False)
        lines = [line for line in printed.splitlines() if line.strip()]
        assert len([line for line in lines if "did you mean 'epochs'" in line]) == 1
        assert "Traceback" not in printed
    assert unbuilt.ran() == []
