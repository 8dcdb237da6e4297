"""States are continued by what made them, and by nothing else."""

import pytest

from pacavit.errors import PacavitError
from pacavit.pipeline import code
from pacavit.training import checkpoint, identity, pretrain
from pacavit.training.identity import ACCEPT, check_identity


def started(create_job, **changed):
    job = create_job("pretrain", **changed)
    check_identity(job)
    return job


def test_the_same_training_goes_on(create_job):
    job = started(create_job)
    checkpoint.save(job.work, {"step": 1}, 1)
    check_identity(job)


def test_before_there_are_states_anything_may_change(create_job):
    started(create_job)
    started(create_job, epochs=3)


def test_other_parameters_are_refused_by_name(create_job):
    job = started(create_job)
    checkpoint.save(job.work, {"step": 1}, 1)
    with pytest.raises(
        PacavitError, match=r"parameter pretrain:recipe.epochs 2, now 3; go back to that, remove"
    ):
        check_identity(create_job("pretrain", epochs=3))


def test_other_data_are_refused_by_name(create_job):
    job = started(create_job)
    checkpoint.save(job.work, {"step": 1}, 1)
    with (job.inputs["data"] / "manifest.json").open("a") as file:
        file.write("\n")
    with pytest.raises(PacavitError, match=r"made from something else: input data/mini/imagenet"):
        check_identity(job)


def test_other_code_is_refused_by_name_unless_accepted(create_job, monkeypatch, capsys):
    job = started(create_job)
    checkpoint.save(job.work, {"step": 1}, 1)
    digest = code.module_digest
    another = {"pacavit.models.paca_vit": "another"}
    monkeypatch.setattr(code, "module_digest", lambda module: another.get(module) or digest(module))
    monkeypatch.setattr(identity, "version", lambda name: "9.9")
    with pytest.raises(PacavitError, match=r"code pacavit.models.paca_vit; package mmdet .*, now 9.9"):
        pretrain.pretrain(job)
    monkeypatch.setenv(ACCEPT, "1")
    check_identity(job)
    assert "in spite of code pacavit.models.paca_vit" in capsys.readouterr().out
    monkeypatch.delenv(ACCEPT)
    check_identity(job)
