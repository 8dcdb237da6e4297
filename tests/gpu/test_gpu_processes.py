"""Two processes on one GPU, which talk over gloo: NCCL refuses a GPU that another process has."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from gpu_trainings import TRAININGS

from pacavit import paths

pytestmark = pytest.mark.gpu

# Python runs a module of this name as it starts.
SHARED_GPU = """
import os
if "RANK" in os.environ:
    os.environ["LOCAL_RANK"] = "0"
    from torch import distributed
    _init = distributed.init_process_group
    distributed.init_process_group = lambda backend, **options: _init("gloo", **options)
"""


@pytest.fixture
def trained(create_job, project):
    """A function that types a training's command line and returns the ended process and the learning curve's path."""

    def train(name: str, processes: int, **environment: str) -> tuple[subprocess.CompletedProcess, Path]:
        _, stage, options = TRAININGS[name]
        often = {} if name == "pretrain" else {"log_updates": 1}
        job = create_job(stage, precision="fp32", **often, **options)
        page = getattr(job.params, stage).model_dump(mode="json")
        paths.path(paths.PARAMS, scale="mini", page=stage).write_text(json.dumps(page))
        shutil.rmtree(project / "work")
        head = ["--head", options["head"]] if options else []
        ended = subprocess.run(
            [sys.executable, "-m", "pacavit", stage, "test_pacavit", *head],
            env={**os.environ, "PACAVIT_PROCESSES": str(processes), **environment},
            capture_output=True,
            text=True,
            timeout=200,
        )
        return ended, job.outputs["curve"]

    return train


@pytest.mark.xfail(
    torch.cuda.device_count() == 1, strict=True, reason="each process takes a GPU of its own for granted"
)
def test_more_processes_than_gpus_train(trained, record_property):
    ended, _ = trained("pretrain", 2)
    lines = [line for line in ended.stderr.splitlines() if "Error" in line]
    record_property("exit code and error", f"{ended.returncode} {lines[-1][:200] if lines else ''}")
    assert ended.returncode == 0


@pytest.mark.parametrize("name", TRAININGS)
def test_two_that_share_a_gpu_learn_as_one_does(trained, tmp_path, record_property, name):
    """Pretraining by the same losses; the dense tasks draw regions, or normalise, by rank: alike at the start."""
    ended, curve = trained(name, 1)
    assert ended.returncode == 0, ended.stderr[-2000:]
    alone = pd.read_csv(curve)["train_loss"].dropna()
    curve.unlink()
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "sitecustomize.py").write_text(SHARED_GPU)
    found = os.pathsep.join([str(tmp_path / "start"), os.environ.get("PYTHONPATH", "")])
    ended, curve = trained(name, 2, PYTHONPATH=found)
    assert ended.returncode == 0, ended.stderr[-2000:]
    together = pd.read_csv(curve)["train_loss"].dropna()
    differences = (together - alone).abs() / alone
    record_property(
        "relative difference of the losses, first and largest",
        f"{differences.iloc[0]:.2g} {differences.max():.2g}",
    )
    assert len(together) == len(alone)
    assert (differences.max() <= 1e-3) if name == "pretrain" else (differences.iloc[0] <= 0.3)
