"""What a job measures is on disk before anything else happens to it."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from pacavit import tracking
from pacavit.errors import PacavitError
from pacavit.files import sha256
from pacavit.tracking import Run, queue, replay


def info(work: Path) -> dict:
    return json.loads((work / tracking.INFO).read_text())


def test_history_is_in_order_of_the_steps(tmp_path):
    run = Run(tmp_path)
    run.log({"train/loss": 1.0}, 10)
    run.log({"train/loss": 2.0}, 5)
    run.log({"val/top1": 50.0}, 10)
    assert run.history() == [
        {"step": 5, "train/loss": 2.0},
        {"step": 10, "train/loss": 1.0, "val/top1": 50.0},
    ]


def test_steps_that_a_resumed_job_repeats_are_not_written_again(tmp_path):
    Run(tmp_path).log({"loss": 1.0}, 1)
    resumed = Run(tmp_path)
    resumed.log({"loss": 7.0, "rate": 3.0}, 1)
    resumed.log({"loss": 7.0}, 1)
    lines = (tmp_path / tracking.METRICS).read_text().splitlines()
    assert [json.loads(line)["metrics"] for line in lines] == [{"loss": 1.0}, {"rate": 3.0}]


@pytest.mark.parametrize("torn", [b'{"step": 2, "ti', b"\x00\x00\x00", b'{"step": \xff', b"{"])
def test_a_line_cut_short_by_a_kill_is_passed_over_and_mended(tmp_path, torn):
    Run(tmp_path).log({"loss": 1.0}, 1)
    with open(tmp_path / tracking.METRICS, "ab") as file:
        file.write(torn)
    run = Run(tmp_path)
    run.log({"loss": 0.5}, 2)
    assert run.history() == Run(tmp_path).history() == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]


def test_a_line_that_lacks_its_end_alone_is_kept(tmp_path):
    Run(tmp_path).log({"loss": 1.0}, 1)
    path = tmp_path / tracking.METRICS
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    run = Run(tmp_path)
    run.log({"loss": 1.0}, 1)
    run.log({"loss": 0.5}, 2)
    assert run.history() == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]


def test_a_full_disk_is_told_in_one_line(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full: run them on Linux")
    run = Run(tmp_path)
    (tmp_path / tracking.METRICS).symlink_to("/dev/full")
    with pytest.raises(PacavitError, match=r"metrics\.jsonl: cannot be written \(No space left"):
        run.log({"loss": 1.0}, 1)


def test_a_run_without_a_folder_keeps_nothing():
    run = Run(None)
    run.log({"loss": 1.0}, 1)
    run.artifact(Path("data.txt"))
    assert run.history() == []


def test_other_ranks_write_nothing(work, job, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with job() as run:
        run.log({"loss": 1.0}, 1)
        run.artifact(Path("data.txt"))
    assert not Path("work").exists()


def test_a_finished_job_says_what_it_was(work, job):
    with job():
        assert info(work)["status"] == "RUNNING"
    found = info(work)
    assert (found["status"], found["error"]) == ("FINISHED", None)
    assert found["data"] == {"data": sha256(Path("data.txt"))}
    assert found["params"] == {"pretrain:recipe": {"lr": 0.1, "betas": [0.9, 0.99]}}
    assert found["start"] <= found["end"]


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("broken"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_a_failed_job_says_so_and_the_error_goes_on(work, job, error, status):
    with pytest.raises(type(error)), job():
        raise error
    assert (info(work)["status"], info(work)["error"]) == (status, f"{type(error).__name__}: {error}")


def test_a_job_of_other_code_begins_anew(work, job):
    with job() as run:
        run.log({"top1": 1.0}, 0)
    first = info(work)["id"]
    with job(code="other") as run:
        run.log({"top1": 2.0}, 0)
        assert run.history() == [{"step": 0, "top1": 2.0}]
    assert info(work)["id"] != first


def test_a_training_under_way_keeps_what_it_logged_though_its_code_is_another(work, job):
    """Whether it may go on is decided by its states."""
    with pytest.raises(KeyboardInterrupt), job() as run:
        run.log({"loss": 1.0}, 0)
        (work / "step-000000001.pt").touch()
        raise KeyboardInterrupt
    with job(code="other") as run:
        assert run.history() == [{"step": 0, "loss": 1.0}]


def test_without_git_there_is_no_commit(work, job, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with job():
        assert info(work)["commit"] is None


def test_the_commit_is_noted_with_edits_of_what_results_follow_from(work, job):
    for name in ("params/mini/coco.yaml", "dvc.lock"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("before")
    for command in (["init", "-q"], ["add", "params", "dvc.lock"]):
        subprocess.run(["git", *command], check=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, "commit", "-qm", "data"], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    Path("dvc.lock").write_text("what a run writes")
    Path("reports").mkdir()
    Path("reports/metrics.json").touch()
    with job():
        assert info(work)["commit"] == head.stdout.strip()
    Path("params/mini/coco.yaml").write_text("edited")
    with job():
        assert info(work)["commit"] == f"{head.stdout.strip()}-dirty"


def test_switched_off_nothing_but_the_files_is_left(work, job):
    with job() as run:
        run.log({"loss": 1.0}, 1)
    assert {path.name for path in work.iterdir()} == {tracking.INFO, tracking.METRICS}
    assert {path.name for path in Path().iterdir()} == {"data.txt", "params", "work"}


def test_no_environment_variable_is_written_down(work, job, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hunter2-token")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2-password@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2-other")
    with pytest.raises(ValueError, match="broken"), job() as run:
        run.log({"loss": 1.0}, 1)
        raise ValueError("broken")
    written = "".join(path.read_text() for path in work.iterdir())
    assert "hunter2" not in written
    assert not [name for name in os.environ if len(name) > 4 and f'"{name}"' in written]


@pytest.mark.parametrize("value", ["soon", "-1", "inf", "nan", ""])
def test_a_wrong_patience_is_told_before_the_work(work, job, monkeypatch, value):
    monkeypatch.setenv(tracking.PATIENCE, value)
    with pytest.raises(PacavitError, match=f"{tracking.PATIENCE}={value}: expected a number of seconds"):
        with job():
            raise AssertionError("the job has begun")
    assert not work.exists()


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", "null", "\0\0"])
@pytest.mark.parametrize("name", [tracking.INFO, queue.STATE, "../../pacavit-mini.json"])
@pytest.mark.usefixtures("database")
def test_a_job_goes_on_beside_notes_that_a_crash_has_spoiled(work, job, name, content):
    with job() as run:
        run.log({"loss": 1.0}, 0)
    replay.sync(replay.open_client(), work)
    (work / name).write_text(content)
    with job() as run:
        run.log({"loss": 2.0}, 1)
    client = replay.open_client()
    found = client.get_run(replay.sync(client, work))
    assert found.info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(found.info.run_id, "loss")] == [0, 1]
