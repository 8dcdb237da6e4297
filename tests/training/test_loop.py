"""The loop of every training, on a model of one weight."""

import re
from importlib import import_module

import pytest
import torch
from torch import nn

from kills import killed_after
from pacavit.pipeline.table import STAGES
from pacavit.runtime.batch_log import is_progress
from pacavit.training import checkpoint, loop
from pacavit.training.loop import Training
from pacavit.training.stream import SampleStream

CPU = torch.device("cpu")
UPDATES = 6


class Small(Training):
    """Fits one weight to the numbers 0 to 11, four an update; logs every second update and validates every third."""

    def __init__(self, job, **options):
        model = nn.Linear(1, 1, bias=False)
        model.weight.data.fill_(1.0)
        # With the usual eps, an update would be the same for a gradient of any size.
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, eps=1e3)
        super().__init__(job, job.params.pretrain.recipe, model, optimizer, None, UPDATES, CPU, **options)
        self.validated = []
        self.prepare(SampleStream(torch.arange(12.0), self.seed), str)

    def loss(self, model, batch):
        value = (model(batch[:, None]) - 2 * batch[:, None]).square().mean()
        return {"loss": value, "largest": batch.max(), "drawn": torch.rand(())}

    def set_rate(self):
        self.optimizer.param_groups[0]["lr"] = 0.1 / (self.step + 1)

    def logs(self):
        return self.step % 2 == 0

    def validates(self):
        return self.step % 3 == 0

    def position(self):
        return {"half": self.step // 3}

    def validate(self):
        self.validated.append(self.step)
        return {"weight": self.model.weight.item()}


class Never:
    """No interruption."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def reason(self, device):
        return 0


@pytest.fixture
def train(create_job):
    """A function that trains in a work folder and returns the training."""

    def run(work="work", micro_batch=4, kill=None, checkpoint_updates=1):
        recipe = {"global_batch": 4, "micro_batch": micro_batch, "workers": 0}
        recipe |= {"log_updates": 2, "checkpoint_updates": checkpoint_updates}
        job = create_job("pretrain", work=work, **recipe)
        training = Small(job)
        if kill is None:
            training.run(Never())
        else:
            with killed_after(kill):
                training.run(Never())
        return training

    return run


def points(training, name):
    """Return the values of the learning curve by step."""
    return {point["step"]: point[name] for point in training.job.run.history() if name in point}


def test_points_of_the_curve_are_means_since_the_last_point_and_hold_the_rate_that_was_used(train):
    training = train()
    assert list(points(training, "train/loss")) == [2, 4, 6]
    assert points(training, "train/lr") == pytest.approx({2: 0.05, 4: 0.025, 6: 0.1 / 6})
    assert points(training, "half") == {2: 0, 4: 1, 6: 2}


def test_it_validates_when_due_with_the_state_saved_before(train, monkeypatch):
    validate, saved = Small.validate, []

    def validated(self):
        saved.append(checkpoint.load_latest(self.job.work)["step"])
        return validate(self)

    monkeypatch.setattr(Small, "validate", validated)
    training = train(checkpoint_updates=100)
    assert training.validated == saved == [3, 6]
    assert points(training, "val/weight")[6] == training.model.weight.item()


def test_without_a_terminal_a_line_every_log_updates_tells_how_it_goes(train, capsys):
    train()
    lines = [line for line in capsys.readouterr().out.splitlines() if is_progress(line)]
    assert [re.search(r"update (\d+)/6", line)[1] for line in lines] == ["2", "4", "6"]
    assert all(re.search(r"  loss \S+  lr \S+  \S+ images/s  .* left$", line) for line in lines)
    assert [re.search(r"lr (\S+)", line)[1] for line in lines] == ["0.05", "0.025", "0.01667"]


def test_a_metric_without_a_value_is_told_and_no_point_of_the_curve(train, monkeypatch, capsys):
    monkeypatch.setattr(Small, "validate", lambda self: {"mIoU": None, "aAcc": 0.5})
    training = train()
    assert "update 3/6  mIoU undefined  aAcc 0.500" in capsys.readouterr().out
    assert points(training, "val/aAcc") == {3: 0.5, 6: 0.5}
    assert points(training, "val/mIoU") == {}


@pytest.mark.parametrize("kill", range(1, UPDATES))
def test_a_killed_training_goes_on_with_the_same_curve_and_weight(train, kill):
    whole = train("whole")
    train("broken", kill=kill)
    resumed = train("broken")
    assert torch.equal(resumed.model.weight, whole.model.weight)
    assert resumed.job.run.history() == whole.job.run.history()


def test_a_validation_that_was_cut_short_is_made_up_for(train, monkeypatch):
    whole = train("whole")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError, match="lost"):
        patch.setattr(Small, "validate", lambda self: (_ for _ in ()).throw(OSError("lost")))
        train("broken")
    resumed = train("broken")
    assert resumed.validated == [3, 6]
    assert resumed.job.run.history() == whole.job.run.history()


def test_the_values_of_an_update_are_means_over_its_micro_batches_and_the_gradient_is_the_whole_batchs(train):
    whole, parts = train("whole"), train("parts", micro_batch=2)
    assert parts.model.weight.item() == pytest.approx(whole.model.weight.item(), rel=1e-6)
    assert points(parts, "train/loss") == pytest.approx(points(whole, "train/loss"), rel=1e-5)
    assert all(
        some <= every
        for some, every in zip(*[points(t, "train/largest").values() for t in (parts, whole)], strict=True)
    )


def test_random_draws_follow_from_the_number_of_the_update(train):
    assert points(train("one"), "train/drawn") == points(train("two"), "train/drawn")


def test_each_process_draws_its_own_numbers(train, monkeypatch):
    first = train("first")
    monkeypatch.setattr(loop, "rank", lambda: 1)
    assert not set(points(first, "train/drawn").values()) & set(
        points(train("second"), "train/drawn").values()
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "names"),
    [("pretrain", {}), ("coco", {}), ("ade20k", {"head": "paca"}), ("ade20k", {"head": "upernet"})],
)
def test_every_training_learns_in_bf16_what_it_learns_in_fp32(create_job, stage, names, capsys):
    """On the CPU, whose autocast is that of a GPU but for the list of operations."""
    losses = []
    for precision in ("fp32", "bf16"):
        job = create_job(stage, work=precision, precision=precision, **names)
        module, _, function = STAGES[stage].function.partition(":")
        getattr(import_module(module), function)(job)
        losses.append([point["train/loss"] for point in job.run.history() if "train/loss" in point])
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert any(map(is_progress, capsys.readouterr().out.splitlines()))
