"""Projects that are moved or copied, with MLflow's local database in them."""

import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pytest
from mlflow_helpers import parents, points, replayed, runs

import clones
from pacavit import tracking
from pacavit.tracking import queue, replay

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def project(work, job):
    """A project with a run that has a file in MLflow."""
    with job() as run:
        Path("curve.txt").write_text("a curve")
        run.log({"loss": 1.0}, 1)
        run.artifact(Path("curve.txt"))
    replayed(work)
    return Path.cwd()


def files(client) -> list[str]:
    """Return the texts of all files of all runs."""
    return sorted(
        Path(client.download_artifacts(run.info.run_id, item.path)).read_text()
        for run in runs(client)
        for item in client.list_artifacts(run.info.run_id)
    )


def test_a_moved_project_keeps_its_runs_and_files_and_writes_into_itself(project, work, job, tmp_path):
    moved = tmp_path.with_name("moved")
    shutil.move(project, moved)
    with chdir(moved):
        client = replay.open_client()
        assert files(client) == ["a curve"]
        other = work.with_name("other")
        with job(fingerprint="other", work=other) as run:
            run.artifact(Path("curve.txt"))
        replayed(other)
        assert len(parents(client)) == 1
        assert files(client) == ["a curve"] * 2
    assert not project.exists()


def test_a_copy_writes_into_itself_and_has_a_reproduction_of_its_own(project, work, job, tmp_path):
    before = sorted(path for path in project.rglob("mlruns/**/*"))
    copied = tmp_path.with_name("copied")
    shutil.copytree(project, copied)
    with chdir(copied):
        (copied / "curve.txt").write_text("another curve")
        other = work.with_name("other")
        with job(fingerprint="other", work=other) as run:
            run.artifact(Path("curve.txt"))
        client, _ = replayed(other)
        assert len(parents(client)) == 2
        assert files(client) == ["a curve", "another curve"]
    assert sorted(path for path in project.rglob("mlruns/**/*")) == before
    with chdir(project):
        assert files(replay.open_client()) == ["a curve"]


def test_two_projects_on_one_server_have_runs_of_their_own(project, work, job, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow.db")
    other = tmp_path.with_name("other")
    other.mkdir()
    shutil.copy(project / "data.txt", other)
    with chdir(other):
        with job() as run:
            run.log({"loss": 1.0}, 1)
        client, _ = replayed(work)
        assert len(runs(client)) == 2
        assert len(parents(client)) == 2
        points = [client.get_metric_history(run.info.run_id, "loss") for run in runs(client)]
        assert [len(history) for history in points] == [1, 1]


def test_a_database_of_several_projects_is_left_as_it_is(project, tmp_path, monkeypatch):
    shared = tmp_path.with_name("shared.db")
    shutil.copy("mlflow.db", shared)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shared}")
    assert files(replay.open_client()) == ["a curve"]


def test_a_run_whose_work_folder_was_removed_is_left_as_it_was(project, work, job):
    shutil.rmtree(work)
    with job() as run:
        run.log({"loss": 1.0}, 1)
    client, _ = replayed(work)
    assert [len(client.get_metric_history(run.info.run_id, "loss")) for run in runs(client)] == [1, 1]


#: Signs that mean something in an address, and others that folders have.
FOLDERS = [
    "100%",
    "a%41b",
    "%2e%2e",
    "what?x=1",
    "c#",
    "with space",
    "Größe",
    "it's",
    'a "b"',
    "a&b;c",
    "p@ss:w",
]


@pytest.mark.parametrize("name", FOLDERS)
def test_runs_and_files_stay_in_a_project_whatever_its_folder_is_called(work, job, tmp_path, name):
    beside = tmp_path / "beside"
    folder = beside / name
    folder.mkdir(parents=True)
    for file in ("mlflow.db", "data.txt"):
        shutil.move(file, folder)
    with chdir(folder):
        Path("curve.txt").write_text("a curve")
        with job() as run:
            run.artifact(Path("curve.txt"))
        client, _ = replayed(work)
        assert files(client) == ["a curve"]
        assert len(runs(client)) == 1
        assert len(list(Path("mlruns").rglob("curve.txt"))) == 1
    assert [path.name for path in beside.iterdir()] == [name]
    moved = tmp_path / "moved ? 50%"
    shutil.move(folder, moved)
    with chdir(moved):
        assert files(replay.open_client()) == ["a curve"]
        with job(fingerprint="other", work=work.with_name("other")) as run:
            run.artifact(Path("curve.txt"))
        client, _ = replayed(work.with_name("other"))
        assert files(client) == ["a curve"] * 2
    assert not folder.exists()


@pytest.mark.parametrize("address", [None, "sqlite:///mlflow.db"])
def test_an_experiment_of_dvc_is_tracked_in_the_project_that_it_is_of(
    work, job, tmp_path, monkeypatch, address
):
    if address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    for name in ("one", "two"):
        copy = tmp_path / ".dvc/tmp/exps" / name / "project"
        copy.mkdir(parents=True)
        shutil.copy("data.txt", copy)
        with chdir(copy):
            Path("curve.txt").write_text(name)
            with job() as run:
                run.artifact(Path("curve.txt"))
            replayed(work)
        shutil.rmtree(copy)
    client = replay.open_client()
    assert files(client) == ["one", "two"]
    assert len(list(Path("mlruns").rglob("curve.txt"))) == 2


def test_what_a_server_missed_of_an_experiment_of_dvc_outlives_its_folder(work, job, monkeypatch, capsys):
    monkeypatch.delenv(tracking.SWITCH)
    monkeypatch.setenv(tracking.PATIENCE, "0")
    monkeypatch.setenv("DVC_EXP_NAME", "puffy-mice")
    monkeypatch.setattr(queue, "_start_uploader", lambda folder: None)
    copy = Path(".dvc/tmp/exps/one")
    copy.mkdir(parents=True)
    shutil.copy("data.txt", copy)
    with chdir(copy), job() as run:
        run.log({"loss": 1.0}, 7)
        run.artifact(Path("curve.txt"))
    kept = Path.cwd() / "work/pretrain/f00d-puffy-mice"
    assert f"{kept}; run `pacavit sync`" in capsys.readouterr().err
    shutil.rmtree(copy)
    Path("curve.txt").write_text("of the project, not of the experiment")
    assert replay.sync_all() == 1
    client = replay.open_client()
    (found,) = runs(client)
    assert points(client, found) == [7]
    assert found.data.tags["dvc.experiment"] == "puffy-mice"
    assert files(client) == []


#: A stage that is tracked as the real ones are.
STAGE = """
from pathlib import Path
from pacavit.tracking import start_run

rate = Path("params.yaml").read_text().split()[1]
with start_run("pretrain@v", "mini", {"variant": "v"}, {"pretrain:lr": rate}, rate, "c", {}, Path("work/a", rate)):
    Path("out.txt").write_text(rate)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [["--temp"], ["--queue"]])
def test_experiments_that_dvc_runs_beside_the_project_are_tracked(work, monkeypatch, how):
    monkeypatch.delenv(tracking.SWITCH)
    Path("stage.py").write_text(STAGE)
    Path("params.yaml").write_text("lr: 1\n")
    Path(".gitignore").write_text("/work/\n/mlruns/\n/mlflow.db*\n/.dvc/tmp/\n")
    environment = clones.environment()

    def typed(*command: str) -> None:
        subprocess.run(command, env=environment, check=True, timeout=300)

    typed("git", "init", "--quiet")
    typed("dvc", "init", "--quiet")
    stage = ["-n", "a", "-d", "stage.py", "-p", "lr", "-o", "out.txt"]
    typed("dvc", "stage", "add", "--quiet", *stage, sys.executable, "stage.py")
    typed("git", "add", "--all")
    typed("git", "commit", "--quiet", "-m", "Begin")
    typed("dvc", "exp", "run", *how, "-S", "lr=2")
    if how == ["--queue"]:
        typed("dvc", "exp", "run", "--run-all")
    (found,) = runs(replay.open_client())
    assert found.data.params == {"pretrain.lr": "2"}
    assert found.data.tags["dvc.experiment"]
