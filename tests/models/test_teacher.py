"""How the ConvMixer teacher works: it alone makes the clusters, and it adds to the backbone's features."""

from itertools import product

import pytest
import torch

from models.kinds import KINDS, tiny
from pacavit.models.paca_vit import BlurConv2d, ConvMixerTeacher, to_tokens


def images(height: int = 64, width: int = 64) -> torch.Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def model():
    return tiny(**KINDS["teacher"]).eval()


def outputs_of(modules, run) -> list:
    """Return what each call of the modules gave while ``run`` ran, in the order of the calls."""
    seen = []
    handles = [m.register_forward_hook(lambda module, args, output: seen.append(output)) for m in modules]
    run()
    for handle in handles:
        handle.remove()
    return seen


def test_a_teacher_can_be_built_twice():
    for _ in range(2):
        model = tiny(**KINDS["teacher"])
        assert model(images()).shape == (2, 5)


def test_every_block_uses_its_assignment(model):
    blocks = [block.attn for i in range(1, 5) for block in model.get_submodule(f"stage{i}")]
    assert all(block.clustering is None for block in blocks)
    (taught, _), *attended = outputs_of([model.paca_teacher, *blocks], lambda: model(images()))
    used = [assignment for _, assignment in attended]
    expected = [taught[0], taught[0], taught[1], taught[1], taught[2], taught[3]]
    assert all(z is own for z, own in zip(used, expected, strict=True))


def test_its_bottom_up_maps_are_added_before_the_norm_that_ends_a_stage(model):
    parts = [model.paca_teacher, model.stage1, model.norm1]
    (_, features), (tokens, _), normed = outputs_of(parts, lambda: model(images()))
    expected = model.norm1(tokens + to_tokens(features[0]), (16, 16))
    assert torch.equal(normed, expected)


def test_it_shares_the_stem(model):
    before = []
    model.paca_teacher.register_forward_pre_hook(lambda module, args: before.append(args[0]))
    model(images())
    tokens, _ = model.patch_embed(images())
    assert torch.equal(to_tokens(before[0]), tokens)


def test_coarse_maps_reach_the_assignment_of_the_finest_stage(model):
    assignments = model.assignments(images())
    (assignments[0] ** 2).sum().backward()
    assert model.paca_teacher.block4[0][1].weight.grad.abs().max() > 0
    assert model.paca_teacher.to_clusters4.weight.grad is None


@torch.inference_mode()
@pytest.mark.parametrize(("height", "width"), [(100, 132), (33, 7)])
def test_odd_sizes(model, height, width):
    x = images(height, width)
    for z, m in zip(model.assignments(x), model.forward_intermediates(x)[1], strict=True):
        assert z.shape[2:] == m.shape[2:]
        torch.testing.assert_close(z.sum(dim=(2, 3)), torch.ones(z.shape[:2]))


def test_a_stage_without_clusters_gets_none():
    model = tiny(num_clusters=(4, 3, 2, 0), teacher_depths=(1, 1, 1, 1)).eval()
    assert model.paca_teacher.to_clusters4 is None
    assert model.assignments(images())[3] is None


@pytest.mark.parametrize("num_clusters", list(product((0, 2), repeat=4)))
def test_every_parameter_learns_whichever_stages_have_clusters(num_clusters):
    """Data-parallel training asks for it."""
    for last in range(4):
        model = tiny(num_clusters=num_clusters, teacher_depths=(1, 1, 1, 1))
        expected = model.eval().forward_intermediates(images(), intermediates_only=True)
        model.prune_intermediate_layers([last])
        maps = model.forward_intermediates(images(), intermediates_only=True)
        torch.testing.assert_close(maps, expected[: last + 1])
        sum(m.sum() for m in maps).backward()
        assert not [name for name, p in model.named_parameters() if p.grad is None]


@torch.no_grad()
@pytest.mark.parametrize("num_clusters", [(0, 2, 0, 2), (0, 0, 0, 2), (0, 0, 0, 0)])
def test_a_teacher_of_fewer_stages_can_be_scripted(num_clusters):
    model = tiny(num_clusters=num_clusters, teacher_depths=(1, 1, 1, 1)).eval()
    torch.testing.assert_close(torch.jit.script(model)(images()), model(images()))


def test_checkpointing_counts_each_batch_once():
    model = tiny(**KINDS["teacher"])
    model.set_grad_checkpointing()
    model(images()).sum().backward()
    counts = {name: int(v) for name, v in model.state_dict().items() if name.endswith("num_batches_tracked")}
    assert set(counts.values()) == {1}


@torch.inference_mode()
def test_halving_looks_at_a_smoothed_map():
    module = BlurConv2d(1, 1)
    torch.testing.assert_close(
        module.blur_filter[0, 0] * 16, torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]])
    )
    torch.nn.init.dirac_(module.conv.weight)
    torch.nn.init.zeros_(module.conv.bias)
    stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 1, 8, 8)
    # The finest stripes, which would alias into a constant, vanish within; a constant stays.
    assert module(stripes)[..., 1:].abs().max() == 0
    assert (module(torch.ones(1, 1, 8, 8))[..., 1:, 1:] == 1).all()


def test_the_low_pass_is_stored_and_not_learned():
    teacher = ConvMixerTeacher((8, 8, 8, 8), (1, 1, 1, 1), (2, 2, 2, 2))
    assert "transition1.0.blur_filter" in teacher.state_dict()
    assert "transition1.0.blur_filter" not in dict(teacher.named_parameters())
