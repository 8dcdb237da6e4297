"""Learning rate and weight decay of every parameter of the paper's dense models, in mmengine's own optimiser."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from marks import tiny_first
from optimizers import options_by_name
from pacavit import params
from pacavit.models import paca_vit
from pacavit.openmmlab import models
from pacavit.params.targets import Model
from pacavit.training import ade20k, coco
from pacavit.training.finetuning import create_optimizer

VARIANTS = [name for name in paca_vit._VARIANTS if name != "test_pacavit"]
CONV = "pacavit_tiny_p2cconv_100_0"
BLOCKWISE = "pacavit_small_p2cconv_100_blockwise"
MLP = "pacavit_small_p2cmlp_100_0"
TEACHER = "pacavit_convmixer_tiny_100"


def groups(model, recipe, custom_keys):
    """Return each parameter with its rate and its weight decay, as shares of the recipe's."""
    task = SimpleNamespace(recipe=recipe, custom_keys=custom_keys)
    optimizer = create_optimizer(task, model)
    assert type(optimizer) is torch.optim.AdamW
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.999)}
    options = options_by_name(model, optimizer)
    return {
        name: (p, options[name]["lr"] / recipe.lr, options[name]["weight_decay"] / recipe.weight_decay)
        for name, p in model.named_parameters()
    }


def test_parameters_of_like_options_are_updated_together():
    pages = params.load("paper")
    job = SimpleNamespace(params=pages, names={"head": "paca"}, model=Model.of(CONV))
    model = models.build(models.segmentor(job, 150, None, "BN"), "mmseg")
    task = SimpleNamespace(recipe=pages.ade20k.recipe, custom_keys=ade20k.multipliers(job))
    optimizer = create_optimizer(task, model)
    found = [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert len(found) == len(set(found)) == 3  # the backbone with and without decay, and what learns faster


def test_merged_groups_give_the_same_weights_bit_by_bit(stepped):
    merged, single = stepped("GroupedOptimWrapperConstructor"), stepped("DefaultOptimWrapperConstructor")
    assert all(torch.equal(a, b) for a, b in zip(merged, single, strict=True))


@pytest.fixture
def stepped():
    """A function that returns the weights of a small model after three updates with a constructor's groups."""
    recipe = params.load("paper").ade20k.recipe
    keys = {"norm": {"decay_mult": 0.0}, "head": {"lr_mult": 10.0}}

    def step(constructor):
        torch.manual_seed(0)
        parts = {"body": torch.nn.Linear(4, 4), "norm": torch.nn.LayerNorm(4), "head": torch.nn.Linear(4, 2)}
        model = torch.nn.Sequential()
        for name, part in parts.items():
            model.add_module(name, part)
        task = SimpleNamespace(recipe=recipe, custom_keys=keys)
        optimizer = create_optimizer(task, model, constructor)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(5, 4)).square().sum().backward()
            optimizer.step()
        return [parameter.detach() for parameter in model.parameters()]

    return step


def segmentor(pages, variant, head):
    job = SimpleNamespace(params=pages, names={"head": head}, model=Model.of(variant))
    with torch.device("meta"):
        model = models.build(models.segmentor(job, 150, None, "SyncBN"), "mmseg")
    return groups(model, pages.ade20k.recipe, ade20k.multipliers(job))


def literal(pages):
    paca = pages.ade20k.heads.paca.model_copy(update={"multiplied": "literal"})
    heads = pages.ade20k.heads.model_copy(update={"paca": paca})
    return replace(pages, ade20k=pages.ade20k.model_copy(update={"heads": heads}))


def faster(found):
    rates = {name: rate for name, (_, rate, _) in found.items()}
    assert sorted(set(rates.values())) == pytest.approx([1.0, 10.0])
    return {name for name, rate in rates.items() if rate > 1}


def of_clusters(found):
    """Return the backbone's parameters with one entry a cluster: 200, which is no width of the backbone."""
    return {name for name, (p, _, _) in found.items() if name.startswith("backbone.") and p.shape[0] == 200}


def of_head(found):
    return {name for name in found if name.startswith("decode_head.")}


def undecayed(found):
    assert {decay for _, _, decay in found.values()} == {0.0, 1.0}
    return {name for name, (_, _, decay) in found.items() if decay == 0}


@pytest.mark.parametrize("variant", tiny_first(VARIANTS))
def test_under_the_paca_head_it_and_all_cluster_outputs_learn_ten_times_faster(project, variant):
    pages = params.load("paper")
    assert pages.ade20k.heads.paca.multiplied == "meant"
    found = segmentor(pages, variant, "paca")
    assert of_clusters(found)
    assert faster(found) == of_clusters(found) | of_head(found)


@pytest.mark.parametrize(
    ("variant", "reached"),
    [
        (CONV, {f"stage{i}.0" for i in (1, 2, 3)}),
        (
            BLOCKWISE,
            {f"stage{i}.{j}" for i, depth in enumerate((3, 3, 10, 3), start=1) for j in range(depth)},
        ),
        (MLP, set()),
        (TEACHER, set()),
    ],
)
def test_literally_only_convolutional_clusterings_are_reached(project, variant, reached):
    found = segmentor(literal(params.load("paper")), variant, "paca")
    layers = {f"backbone.{block}.attn.clustering.clustering.4.weight" for block in reached}
    assert layers <= of_clusters(found)
    assert faster(found) == layers | of_head(found)


@pytest.mark.parametrize("variant", [CONV, TEACHER])
def test_batch_norms_of_head_and_teacher_are_decayed_and_layer_norms_are_not(project, variant):
    found = segmentor(params.load("paper"), variant, "paca")
    assert undecayed(found) == {name for name in found if name.startswith("backbone.") and "norm" in name}
    assert found["decode_head.convs.0.bn.weight"][1:] == (pytest.approx(10.0), 1.0)
    assert found["decode_head.k.2.bias"][1:] == (pytest.approx(10.0), 1.0)
    if variant == TEACHER:
        assert found["backbone.paca_teacher.block1.0.3.weight"][1:] == (1.0, 1.0)


@pytest.mark.parametrize("variant", [CONV, MLP, TEACHER])
def test_upernet_and_mask_rcnn_have_one_rate_and_norms_without_decay(project, variant):
    pages = params.load("paper")
    encoder = models.backbone(variant, None, 0.1)
    with torch.device("meta"):
        detector = models.build(models.mask_rcnn(encoder, 80, pages.coco.recipe.detector), "mmdet")
    for found in (
        segmentor(pages, variant, "upernet"),
        groups(detector, pages.coco.recipe, coco.multipliers(Model.of(variant))),
    ):
        assert {rate for _, rate, _ in found.values()} == {1.0}
        assert undecayed(found) == {name for name in found if "norm" in name}
        assert found["backbone.stage1.0.mlp.fc1.bias"][2] == 1.0


def test_both_heads_of_upernet_can_learn_faster_than_its_backbone(project):
    pages = params.load("paper")
    upernet = pages.ade20k.heads.upernet.model_copy(update={"lr_multiplier": 10.0})
    heads = pages.ade20k.heads.model_copy(update={"upernet": upernet})
    pages = replace(pages, ade20k=pages.ade20k.model_copy(update={"heads": heads}))
    fast = faster(segmentor(pages, CONV, "upernet"))
    assert {name.split(".")[0] for name in fast} == {"decode_head", "auxiliary_head"}
    assert fast == {name for name in segmentor(pages, CONV, "upernet") if not name.startswith("backbone.")}
