"""Projects that are moved or copied, with MLflow's local database in them."""

import shutil
from contextlib import chdir
from pathlib import Path

import pytest
from mlflow_helpers import parents, replayed, runs

from pacavit.tracking import replay

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
