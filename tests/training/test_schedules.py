"""The learning rate of every update of a fine-tuning, in mmengine's own schedulers."""

import pytest
import torch

from pacavit import params
from pacavit.training import ade20k, coco
from pacavit.training.finetuning import create_schedules


def rates(task):
    """Return the rate of each update as a share of the recipe's."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=task.recipe.lr)
    schedulers = create_schedules(task, optimizer)
    found = []
    for _ in range(task.updates):
        found.append(optimizer.param_groups[0]["lr"] / task.recipe.lr)
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return found


def test_mask_rcnn_warms_up_and_falls_to_a_tenth_after_the_chosen_epochs(create_job):
    task = coco.describe(
        create_job("coco", epochs=12, drop_epochs=[8, 11], warmup_updates=5, warmup_start=1e-3)
    )
    updates = task.updates // 12
    assert updates > 1
    found = rates(task)
    assert found[:5] == pytest.approx([1e-3 + i * (1 - 1e-3) / 4 for i in range(5)])
    assert found[5:] == pytest.approx([1.0] * (8 * updates - 5) + [0.1] * (3 * updates) + [0.01] * updates)


def test_segmentors_warm_up_and_fall_linearly_to_nothing(create_job):
    task = ade20k.describe(
        create_job("ade20k", head="paca", updates=160, warmup_updates=15, warmup_start=1e-6), "BN"
    )
    found = rates(task)
    assert found[:15] == pytest.approx([1e-6 + i * (1 - 1e-6) / 14 for i in range(15)])
    assert found[15:] == pytest.approx([1 - i / 144 for i in range(145)], abs=1e-9)


def test_without_a_warm_up_the_rate_falls_from_the_first_update(create_job):
    found = rates(ade20k.describe(create_job("ade20k", head="paca", updates=5, warmup_updates=0), "BN"))
    assert found == pytest.approx([1, 0.75, 0.5, 0.25, 0])


@pytest.mark.slow
def test_the_rate_of_each_of_the_papers_160000_updates(create_job, project):
    recipe = params.load("paper").ade20k.recipe
    written = {key: getattr(recipe, key) for key in ("updates", "warmup_updates", "warmup_start", "lr")}
    found = rates(ade20k.describe(create_job("ade20k", head="upernet", **written), "BN"))
    warm, total = 1500, 160_000
    assert len(found) == total
    assert found[:warm] == pytest.approx([1e-6 + i * (1 - 1e-6) / (warm - 1) for i in range(warm)])
    assert found[warm:] == pytest.approx([1 - i / (total - warm - 1) for i in range(total - warm)], abs=1e-6)
