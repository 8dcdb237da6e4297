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
        client, found = replayed(work)
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


def test_an_experiment_of_dvc_is_tracked_in_the_project_that_it_is_of(work, job, tmp_path):
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
