"""A job to track, in a project of its own where MLflow is at its default place."""

import os
import shutil
from pathlib import Path

import pytest

from pacavit import tracking


@pytest.fixture
def work(tmp_path, monkeypatch):
    """The work folder of a job; nothing goes to MLflow by itself."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MLFLOW")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(tracking.SWITCH, "off")
    Path("data.txt").write_text("data")
    # A page of parameters makes the folder a project.
    Path("params/mini").mkdir(parents=True, exist_ok=True)
    Path("params/mini/targets.yaml").touch()
    yield Path("work/pretrain/f00d")
    # An uploader ends with its queue.
    shutil.rmtree("work/uploads", ignore_errors=True)


@pytest.fixture
def job(work):
    """Open the run of the job, or of one that differs from it by the given arguments."""

    def start(**changed):
        described = {
            "job": "pretrain@v-0",
            "scale": "mini",
            "names": {"variant": "v", "seed": 0},
            "values": {"pretrain:recipe": {"lr": 0.1, "betas": [0.9, 0.99]}},
            "fingerprint": "f00d",
            "code": "code",
            "inputs": {"data": Path("data.txt")},
            "work": work,
        }
        return tracking.start_run(**{**described, **changed})

    return start


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """An MLflow database without runs: to make one takes a second."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        from pacavit.tracking import replay

        replay.open_client()
        return Path("mlflow.db").resolve()


@pytest.fixture
def database(work, empty_database):
    """Put an empty MLflow database at its default place in the project."""
    shutil.copy(empty_database, "mlflow.db")
