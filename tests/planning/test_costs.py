"""Estimates: what is counted is exact, and what is assumed is a range from the page."""

import pytest
import timm
import torch

from pacavit import params
from pacavit.errors import PacavitError
from pacavit.params.targets import Model
from pacavit.planning import costs, table
from pacavit.planning.memory import activation_bytes
from pacavit.planning.schedule import wall_hours

TINY = "pacavit_tiny_p2cconv_100_0"


@pytest.fixture
def machine(project):
    return costs.Machine("v100", params.load("paper").plan.processors["v100"], 8)


@pytest.fixture
def counted(monkeypatch):
    """The counting, which takes seconds, replaced by round numbers."""
    model = {"parameters": 10_000_000, "multiply_adds": 1e9, "activations": 100_000_000}
    monkeypatch.setattr(costs.Models, "costs", lambda *arguments: model)


def planned(target, machine):
    return costs.costs("paper", params.load("paper"), target, machine, {})


def test_the_rate_of_a_published_training_gives_its_time(project):
    """DeiT-B, 17.6 G multiply-adds, took 53 hours on 8 V100 for 300 epochs: the page's upper share is of that."""
    page = params.load("paper").plan
    flops = 2 * 3 * 17.6e9 * 300 * 1_281_167
    hours = flops / (page.processors["v100"].tflops * 1e12 * page.utilisation.imagenet[1]) / 3600 / 8
    assert hours == pytest.approx(53, rel=0.05)


def test_a_pretraining_is_three_forward_passes_an_image_and_one_a_validation(project, machine, counted):
    found = {cost.stage: cost for cost in planned(TINY, machine)}
    images = 300 * (1_281_167 // 1024) * 1024
    flops = 2e9 * (3 * images + 300 * 50_000)
    low, high = params.load("paper").plan.utilisation.imagenet
    expected = [flops / (125e12 * share) / 3600 for share in (high, low)]
    assert found["pretrain"].processor_hours == pytest.approx(expected)
    assert found["pretrain"].hours[0] == pytest.approx(expected[0] / 8)
    assert found["pretrain"].memory == pytest.approx((0.16 + 0.05 * 128, 0.16 + 0.1 * 128))
    assert f"3 × {images:,} images + 15,000,000 validated" in found["pretrain"].source
    assert found["prepare_imagenet"].disk == pytest.approx(155.6, abs=0.1)


def test_more_processors_than_a_global_batch_can_be_shared_by_are_not_used_by_one_job(project, counted):
    many = costs.Machine("h100", params.load("paper").plan.processors["h100"], 64)
    found = {cost.stage: cost for cost in planned(TINY, many)}
    assert (found["pretrain"].processors, found["coco"].processors) == (8, 8)


def test_jobs_wait_for_their_inputs_and_for_processors(project, counted, machine):
    found = planned("main", machine)
    for which in (0, 1):
        alone = wall_hours(found, 8, "paper", which)
        assert alone >= sum(cost.hours[which] for cost in found if cost.processors == 8)
        assert wall_hours(found, 64, "paper", which) < alone
        hours = {cost.stage: cost.hours[which] for cost in found}
        longest = hours["prepare_imagenet"] + hours["pretrain"] + hours["ade20k"]
        assert wall_hours(found, 10_000, "paper", which) >= longest


def cost(stage, processors, hours):
    names = {"variant": "v", "seed": 0}
    return costs.Cost(stage, names, (0, 0), (hours, hours), processors, (0, 0), 0, 0, "")


def test_a_job_begins_when_as_many_processors_as_it_uses_are_free():
    jobs = [cost("pretrain", 1, 3.0), cost("coco", 2, 1.0)]
    jobs[0].names["variant"] = "another"  # so that neither waits for what the other makes
    assert wall_hours(jobs, 2, "mini", 0) == 4
    assert wall_hours(jobs, 3, "mini", 0) == 3


def test_an_unknown_processor_or_target_is_one_line(project):
    with pytest.raises(PacavitError, match=r"processor 'tpu': params/paper/plan\.yaml has v100, a100, h100"):
        table.plan_for(params.load("paper"), "paper", "main", "tpu")
    with pytest.raises(PacavitError, match="target 'base': unknown"):
        table.plan_for(params.load("paper"), "paper", "base")


def test_the_table_adds_up(project, machine, counted):
    plan = table.summary(planned("main", machine), machine, "paper", "main")
    assert sum(row["jobs"] for row in plan["stages"]) == plan["jobs"]
    assert sum(row["disk"] for row in plan["stages"]) == pytest.approx(plan["disk"])
    lines = table.as_markdown(plan).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[-1].startswith("| all ")


@pytest.mark.parametrize("size", [(64, 64), (96, 64)])
def test_activations_are_what_autograd_keeps(size):
    torch.manual_seed(0)
    model = timm.create_model("test_pacavit", num_classes=0).train()
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(torch.randn(1, 3, *size))  # kept alive, so that no storage is used twice
    assert output.requires_grad
    assert activation_bytes(Model.of("test_pacavit"), size) == pytest.approx(sum(kept.values()), rel=0.1)
