"""The loop of fine-tuning, on a model that only gives losses."""

from types import SimpleNamespace

import pytest
import torch

from pacavit.training.finetuning import ExactLoop


@pytest.fixture
def loop():
    """A loop whose every update adds up two micro-batches, and what its hooks were told."""
    told = []
    made = object.__new__(ExactLoop)
    made._runner = SimpleNamespace(
        call_hook=lambda name, **given: told.append(given.get("outputs")),
        model=SimpleNamespace(train_step=lambda batch, optim_wrapper: {"loss": torch.tensor(batch)}),
        optim_wrapper=None,
    )
    made.batches, made.parts, made.seed, made._iter = iter([1.0, 3.0, 5.0, 5.0]), 2, 0, 0
    made.guard = SimpleNamespace(check=lambda step, loss: loss)
    return made, told


def test_the_loss_of_an_update_is_the_mean_over_its_micro_batches(loop):
    made, told = loop
    made._update()
    made._update()
    assert [outputs["loss"] for outputs in told if outputs] == [2.0, 5.0]
    assert made._iter == 2
