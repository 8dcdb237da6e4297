"""What DVC and Snakemake take from the table of stages."""

import contextlib
import re
from pathlib import Path

from workflow_repository import ROOT

from pacavit import params
from pacavit.pipeline import dvc, targets
from pacavit.pipeline.table import STAGES

SCALE = "mini"


def dvc_jobs(folder) -> dict[str, dict]:
    """Return DVC's own resolution of dvc.yaml: command, deps, params and outs by job."""
    from dvc.repo import Repo

    jobs = {}
    with Repo(str(folder)) as repo:
        for stage in repo.index.stages:
            paged = {dep.def_path for dep in stage.deps if dep.def_path.startswith("params/")}
            deps = {dep.def_path for dep in stage.deps} - paged - {dvc.CODE}
            keys = {
                ":".join(filter(None, [page_of(dep.def_path), key]))
                for dep in stage.deps
                if dep.def_path in paged
                for key in dep.params or [""]
            }
            outs = {out.def_path: out.use_cache for out in stage.outs}
            jobs[stage.addressing.removeprefix("dvc.yaml:")] = {
                "command": stage.cmd,
                "deps": deps,
                "params": keys,
                "outs": outs,
            }
    return jobs


def page_of(path: str) -> str:
    return path.removeprefix("params/").removeprefix(f"{SCALE}/").removesuffix(".yaml")


def own_jobs(given: params.Params) -> dict[str, dict]:
    """Return the same from the table of stages."""
    jobs = {}
    for stage, names in targets.jobs(given.targets):
        spec = STAGES[stage]
        jobs[targets.name(stage, names)] = {
            "command": targets.command(stage, SCALE, **names),
            "deps": {str(path) for path in targets.inputs(stage, SCALE, names).values()}
            | {
                folder_of(str(path))
                for files in targets.aggregated(stage, SCALE, given.targets).values()
                for _, path in files
            },
            "params": {key.format(**names).removesuffix(":") for key in spec.params},
            "outs": {
                str(path): output.kind in ("cached", "folder")
                for path, output in zip(
                    targets.outputs(stage, SCALE, names).values(), spec.outputs.values(), strict=True
                )
            },
        }
    return jobs


def folder_of(path: str) -> str:
    """Return the folder that stands in dvc.yaml for a file which a stage gathers: `reports/<scale>/<kind>`."""
    return "/".join(path.split("/")[:3])


def test_dvc_takes_from_dvc_yaml_the_jobs_of_the_table(unbuilt, monkeypatch):
    unbuilt.run("pacavit", "dvc")
    monkeypatch.chdir(unbuilt.folder)
    found = dvc_jobs(unbuilt.folder)
    assert found.pop(dvc.CODE_STAGE)["command"] == "pacavit code"
    assert found == own_jobs(params.load(SCALE))


def test_the_repositorys_dvc_yaml_is_what_the_table_gives():
    with contextlib.chdir(ROOT):
        assert Path("dvc.yaml").read_text() == dvc.yaml_text(SCALE, params.load(SCALE))


def test_the_rules_run_the_commands_of_the_table(unbuilt, monkeypatch):
    monkeypatch.chdir(unbuilt.folder)
    printed = unbuilt.run("snakemake", "-n", "--printshellcmds", "--forceall")
    commands = set(re.findall(r"pacavit [^|\n]*?(?= > )", printed))
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
