"""A loss that is lost and processes that no longer agree end a training, with names."""

import json
import math
from types import SimpleNamespace

import pytest
import torch

from pacavit.errors import PacavitError
from pacavit.training import coco, guards
from pacavit.training.guards import BATCH, LossGuard, check_ranks_agree, checksum

CPU = torch.device("cpu")


@pytest.fixture
def guard(tmp_path):
    job = SimpleNamespace(stage="coco", work=tmp_path)
    return LossGuard(job, CPU, lambda step: [f"image {step}.{i}" for i in range(5)])


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_with_the_images_written_down(guard, tmp_path, loss):
    with pytest.raises(
        PacavitError, match=rf"loss of update 3 is {loss}; its images, first image 3.0, image 3.1"
    ):
        guard.check(3, loss)
    written = json.loads((tmp_path / BATCH).read_text())
    assert written == {"update": 3, "loss": str(loss), "images": [f"image 3.{i}" for i in range(5)]}


def test_an_exploding_loss_ends_after_fifty_updates(guard, tmp_path):
    for step in range(200):
        guard.check(step, 2.0)
    for step in range(200, 249):
        guard.check(step, 21.0)
    with pytest.raises(PacavitError, match="update 249 is 21, the 50th in a row above 10 times the usual"):
        guard.check(249, 21.0)
    assert (tmp_path / BATCH).exists()


def test_a_healthy_loss_goes_on(guard):
    """It starts high, falls by a hundredth, and jumps for a while."""
    for step in range(2000):
        jump = 30.0 if step % 100 < 40 and step > 300 else 1.0
        assert guard.check(step, 7.0 * jump * math.exp(-step / 400)) > 0


@pytest.mark.parametrize("task", ["coco", "ade20k"])
def test_dense_tasks_name_their_images_too(create_job, monkeypatch, task):
    from pacavit.training import ade20k

    job = create_job(task, **({"head": "paca"} if task == "ade20k" else {}))
    check = LossGuard.check
    monkeypatch.setattr(LossGuard, "check", lambda self, step, loss: check(self, step, loss * math.nan))
    with pytest.raises(PacavitError, match="loss of update 0 is nan"):
        (coco if task == "coco" else ade20k).finetune(job)
    images = json.loads((job.work / BATCH).read_text())["images"]
    assert len(images) == 4
    assert all(name.endswith(".jpg") for name in images)


def test_the_checksum_sees_one_bit():
    parameters = [torch.arange(6.0), torch.ones(2, 2, dtype=torch.bfloat16)]
    before = checksum(parameters)
    assert checksum([p.clone() for p in parameters]) == before
    changed = parameters[0].clone()
    changed.view(torch.int32)[3] ^= 1
    assert checksum([changed, parameters[1]]) != before
    assert checksum([parameters[0], parameters[1] * 2]) != before
    assert checksum(parameters[::-1]) != before


def test_processes_that_would_go_on_from_different_updates_are_named(monkeypatch):
    monkeypatch.setattr(guards, "every", lambda value, device: [200, 100])
    with pytest.raises(PacavitError, match="rank 0 from 200, rank 1 from 100"):
        guards.check_same_step(200, torch.device("cpu"))
    monkeypatch.setattr(guards, "every", lambda value, device: [200, 200])
    guards.check_same_step(200, torch.device("cpu"))


def test_processes_that_differ_are_named(monkeypatch):
    monkeypatch.setattr(guards, "world_size", lambda: 4)
    monkeypatch.setattr(guards, "every", lambda value, device: [value, value + 1, value, 0])
    with pytest.raises(
        PacavitError, match="after update 9 the parameters of rank 1, 3 differ from those of rank 0"
    ):
        check_ranks_agree([torch.ones(3)], 9, CPU)
    monkeypatch.setattr(guards, "every", lambda value, device: [value] * 4)
    check_ranks_agree([torch.ones(3)], 9, CPU)
