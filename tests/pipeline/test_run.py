"""Running a job: what its function is given, what it leaves, and what is refused."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from jobs import describe
from pacavit import params
from pacavit.errors import PacavitError
from pacavit.job import UndeclaredError
from pacavit.pipeline import content, records, run, targets
from pages import change

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"variant": "test_pacavit", "seed": 0}


@pytest.fixture
def functions(monkeypatch):
    """What stands for the stages' functions: one that notes its job and writes each output."""
    jobs = []

    def work(job):
        jobs.append(job)
        for path in job.outputs.values():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{path} of {json.dumps(dict(job.values), sort_keys=True)}")

    module = SimpleNamespace(provide=work, pretrain=work, write=work)
    monkeypatch.setattr(run, "importlib", SimpleNamespace(import_module=lambda name: module))
    return jobs


def test_a_function_sees_what_its_stage_declares(project):
    job = describe("coco", params.load("mini"), names=NAMES)
    assert job.params.coco.recipe.epochs > 0
    assert job.params.coco.variants["test_pacavit"].drop_path == 0
    assert str(job.inputs["pretrained"]) == "checkpoints/mini/pretrain/test_pacavit/seed0.safetensors"
    assert set(job.values) == {
        *("coco:recipe", "coco:variants.test_pacavit"),
        *("evaluate:coco.batch_size", "evaluate:coco.workers"),
    }


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda job: job.params.ade20k, "stage coco declares no parameter 'ade20k', only coco.recipe"),
        (lambda job: job.params.evaluate.coco.keep, "no parameter 'evaluate.coco.keep', only evaluate.coco"),
        (lambda job: job.params.coco.variants["second"], "no parameter 'coco.variants.second'"),
        (lambda job: job.inputs["weights"], "no input 'weights', only data, pretrained: add it to the stage"),
        (lambda job: job.outputs["metrics"], "no output 'metrics', only weights, curve"),
        (lambda job: job.aggregated["pretrain.curve"], "no aggregated output 'pretrain.curve', only none"),
        (lambda job: job.paper.coco, "no parameter 'coco', only none"),
    ],
)
def test_a_function_cannot_read_what_its_stage_does_not_declare(project, read, message):
    with pytest.raises(UndeclaredError, match=message):
        read(describe("coco", params.load("mini"), names=NAMES))


def test_a_job_leaves_a_record_of_what_was_made_from_what(project, functions):
    run.run("archives_coco", "mini")
    (path,) = records.FOLDER.glob("archives_coco/*.json")
    record = json.loads(path.read_text())
    assert record["params"]["data:coco.archives"]["train_images"] == 500
    assert record["inputs"] == {}
    for output in targets.outputs("archives_coco", "mini", {}).values():
        assert record["outputs"][str(output)] == content.digest(output)


def test_a_job_that_is_asked_for_again_runs_again(project, functions):
    for _ in range(2):
        assert not run.restore("archives_coco", "mini")
        run.run("archives_coco", "mini")
    assert len(functions) == 2


def test_what_is_gone_is_taken_from_the_cache_if_it_was_made_from_the_same(project, functions, capsys):
    run.run("archives_coco", "mini")
    kept = keep_in_cache(targets.outputs("archives_coco", "mini", {}).values())
    path = next(iter(kept))
    path.unlink()
    assert run.restore("archives_coco", "mini")
    assert path.read_text() == kept[path]
    assert "archives_coco: taken from DVC's cache" in capsys.readouterr().out
    path.unlink()
    change(project / "params/mini/data.yaml", "coco.archives.seed", 1)
    assert not run.restore("archives_coco", "mini")
    assert not path.exists()


@pytest.mark.parametrize(
    "damage", [lambda stored: stored.unlink(), lambda stored: stored.write_text("other")]
)
def test_a_cache_that_has_lost_or_spoilt_one_file_gives_none(project, functions, damage):
    run.run("archives_coco", "mini")
    kept = keep_in_cache(targets.outputs("archives_coco", "mini", {}).values())
    first, second, *_ = kept
    damage(stored(first))
    first.unlink()
    second.unlink()
    assert not run.restore("archives_coco", "mini")
    assert not second.exists()


def stored(path: Path) -> Path:
    """Return where DVC's cache keeps a file."""
    md5 = content.digest(path)
    return Path(".dvc/cache/files/md5", md5[:2], md5[2:])


def keep_in_cache(outputs) -> dict[Path, str]:
    """Copy files into DVC's cache; return their texts."""
    for path in outputs:
        stored(path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, stored(path))
    return {path: path.read_text() for path in outputs}


def test_a_missing_input_is_told_with_the_command_that_makes_it(project):
    with pytest.raises(
        PacavitError,
        match=r"data/mini/imagenet: missing, and stage pretrain reads it; make it with "
        r"`pacavit prepare imagenet --scale mini`",
    ):
        run.run("pretrain", "mini", **NAMES)


def test_a_file_of_the_repository_that_is_missing_is_to_be_checked_out(project):
    with pytest.raises(
        PacavitError, match=r"claims/published\.csv: missing.*`git checkout claims/published\.csv`"
    ):
        run.run("complexity", "mini")


def test_a_function_that_leaves_an_output_out_is_a_defect(project, functions, monkeypatch):
    module = SimpleNamespace(provide=lambda job: None)
    monkeypatch.setattr(run, "importlib", SimpleNamespace(import_module=lambda name: module))
    with pytest.raises(PacavitError, match="archives_ade20k ended without writing data/mini/archives/ade20k"):
        run.run("archives_ade20k", "mini")
    assert not list(records.FOLDER.glob("*/*.json"))


def test_what_is_aggregated_may_lack_something_and_then_leaves_no_record(project, functions, capsys):
    shutil.copytree(ROOT / "claims", project / "claims")
    (project / "reports/mini/claims").mkdir(parents=True)
    (project / "reports/mini/claims/complexity.json").touch()
    run.run("claims", "mini")
    assert (
        "4 results of other stages are not there yet and left out, such as reports/mini"
        in capsys.readouterr().out
    )
    assert functions[0].aggregated["evaluate_coco.metrics"] == []
    assert not list(records.FOLDER.glob("*/*.json"))


def test_other_parameters_inputs_and_wildcards_have_work_folders_of_their_own(project):
    def of(seed=0, epochs=3, data="a"):
        made = records.Made("pretrain", "mini", {"seed": seed}, {"epochs": epochs}, "code", {"data": data})
        return run._fingerprint(made)

    assert of() == of()
    assert len({of(), of(seed=1), of(epochs=4), of(data="b")}) == 4


def test_an_edit_of_the_code_keeps_the_work_folder(project):
    """It is refused there by name, unless accepted."""
    made = records.Made("pretrain", "mini", {}, {}, "code", {})
    other = records.Made("pretrain", "mini", {}, {}, "edited", {})
    assert run._fingerprint(made) == run._fingerprint(other)
    assert made.key != other.key


def test_two_processes_cannot_run_one_job(project, monkeypatch):
    monkeypatch.setattr(run, "_LOCK_SECONDS", 0)
    work = project / "work"
    with run.locked(work), pytest.raises(PacavitError, match="another process is running this job"):
        with run.locked(work):
            pass
    assert FileLock(work / "lock").acquire(timeout=0)
