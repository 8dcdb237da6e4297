"""What tools that look into a model see: hooks, tracers, function transforms and per-sample gradients."""

import contextlib
import copy

import pytest
import torch
from timm.layers import set_fused_attn
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn.modules.module import register_module_forward_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models.feature_extraction import create_feature_extractor

from models.kinds import KINDS, tiny
from pacavit.models import paca_vit
from pacavit.models.paca_vit import Mlp

each_kind = pytest.mark.parametrize("kind", KINDS)


def images(batch: int = 2, height: int = 64, width: int = 64) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def gradients(model: nn.Module) -> dict[str, Tensor | None]:
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.fixture
def by_image(monkeypatch):
    """Make batches of any size large enough to run image by image."""
    monkeypatch.setattr(paca_vit, "_KEPT_BLOCK", 0)


@pytest.fixture
def unfused():
    """Models with plain attention, which torch can differentiate forwards and twice on the CPU."""
    set_fused_attn(False)
    yield
    set_fused_attn(True)


# Hooks


def tensors_in(values) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, (tuple, list)):
        return [tensor for value in values for tensor in tensors_in(value)]
    return []


@contextlib.contextmanager
def recorded(model: nn.Module):
    """Note module, inputs, output, and copies of both, of each call within a model."""
    calls = []

    def note(module, args, output):
        held = tensors_in(args) + tensors_in(output)
        calls.append((module, args, output, held, [tensor.detach().clone() for tensor in held]))

    handles = [module.register_forward_hook(note) for module in model.modules()]
    yield calls
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("mode", ["eval", "train", "no_grad", "inference_mode", "autocast", "channels_last"])
@each_kind
def test_an_output_stays_what_its_module_computed(by_image, kind, mode):
    model, x = tiny(**KINDS[kind]).train(mode == "train"), images()
    around = {
        "no_grad": torch.no_grad(),
        "inference_mode": torch.inference_mode(),
        "autocast": torch.autocast("cpu", torch.bfloat16),
    }.get(mode, contextlib.nullcontext())
    if mode == "channels_last":
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    with recorded(model) as calls, around:
        logits = model(x)
        if logits.requires_grad:
            logits.sum().backward()
    assert {module for module, *_ in calls} >= {
        m for m in model.modules() if list(m.parameters(recurse=False))
    }
    with around:
        for module, args, output, held, copies in calls:
            assert all(torch.equal(now, then) for now, then in zip(held, copies, strict=True)), module
            if not list(module.children()):
                torch.testing.assert_close(module.forward(*args), output)


def test_logits_with_hooks_are_close_to_those_without(by_image):
    model = tiny().eval()
    expected = model(images())
    with recorded(model):
        hooked = model(images())
    torch.testing.assert_close(hooked, expected)


@each_kind
def test_full_backward_hooks_see_the_gradients(kind):
    model = tiny(**KINDS[kind])
    expected = copy.deepcopy(model)
    expected(images()).sum().backward()
    seen, called = [], set()
    for module in model.modules():
        module.register_full_backward_pre_hook(lambda m, grads: called.add(m))
        module.register_full_backward_hook(
            lambda m, inputs, outputs: seen.extend((g, g.clone()) for g in tensors_in((inputs, outputs)))
        )
    model(images()).sum().backward()
    assert called >= {m for m in model.modules() if list(m.parameters(recurse=False))}
    assert all(torch.equal(now, then) for now, then in seen)
    torch.testing.assert_close(gradients(model), gradients(expected))


# The feed-forward network, image by image


@each_kind
def test_image_by_image_gives_the_same_outputs_and_gradients(monkeypatch, kind):
    model = tiny(**KINDS[kind])
    expected = copy.deepcopy(model)
    logits = expected(images(3))
    logits.sum().backward()
    monkeypatch.setattr(paca_vit, "_KEPT_BLOCK", 0)
    batches = []
    run = Mlp._run
    monkeypatch.setattr(Mlp, "_run", lambda self, x, size: batches.append(len(x)) or run(self, x, size))
    found = model(images(3))
    assert batches == [1, 1, 1] * 6
    found.sum().backward()
    torch.testing.assert_close(found, logits)
    torch.testing.assert_close(gradients(model), gradients(expected), rtol=1e-4, atol=1e-5)


def test_a_batch_of_usual_size_runs_at_once(monkeypatch):
    batches = []
    run = Mlp._run
    monkeypatch.setattr(Mlp, "_run", lambda self, x, size: batches.append(len(x)) or run(self, x, size))
    tiny()(images(3))
    assert set(batches) == {3}


def forward_hook(layer, seen):
    layer.register_forward_hook(lambda module, args, output: seen.append(args[0]))


def forward_pre_hook(layer, seen):
    layer.register_forward_pre_hook(lambda module, args: seen.append(args[0]))


def full_backward_hook(layer, seen):
    layer.register_full_backward_hook(lambda module, inputs, outputs: seen.append(outputs[0]))


def full_backward_pre_hook(layer, seen):
    layer.register_full_backward_pre_hook(lambda module, outputs: seen.append(outputs[0]))


def wrapped_forward(layer, seen):
    forward = layer.forward
    layer.forward = lambda x, *args: seen.append(x) or forward(x, *args)


@pytest.mark.parametrize("layer", ["fc1", "dwconv", "dwconv.dwconv", "act", "drop", "fc2"])
@pytest.mark.parametrize(
    "observe", [forward_hook, forward_pre_hook, full_backward_hook, full_backward_pre_hook, wrapped_forward]
)
def test_whoever_looks_at_a_layer_sees_the_whole_batch(by_image, observe, layer):
    model, seen = tiny(), []
    observe(model.stage1[0].mlp.get_submodule(layer), seen)
    model(images(3)).sum().backward()
    assert {len(x) for x in seen} == {3}


def test_a_hook_on_all_modules_sees_the_whole_batch(by_image):
    seen = []
    handle = register_module_forward_hook(lambda module, args, output: seen.append(args[0]))
    tiny()(images(3))
    handle.remove()
    assert {len(x) for x in seen} == {3}


def test_a_layer_of_the_callers_gets_the_whole_batch(by_image):
    class Recorder(nn.GELU):
        def forward(self, x):
            seen.append(x)
            return super().forward(x)

    model, seen = tiny(), []
    model.stage1[0].mlp.act = Recorder()
    model(images(3))
    assert [len(x) for x in seen] == [3]


def test_a_weight_of_a_subclass_of_tensor_gets_the_whole_batch(by_image):
    class Recorder(Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            if func is torch.nn.functional.linear:
                seen.append(args[0])
            return super().__torch_function__(func, types, args, kwargs or {})

    model, seen = tiny().requires_grad_(False), []
    fc2 = model.stage4[0].mlp.fc2
    fc2.weight = nn.Parameter(fc2.weight.as_subclass(Recorder), requires_grad=False)
    model(images(3))
    assert seen
    assert {len(x) for x in seen} == {3}


class FunctionRecorder(TorchFunctionMode):
    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.nn.functional.gelu:
            self.seen.append(args[0])
        return func(*args, **(kwargs or {}))


class DispatchRecorder(TorchDispatchMode):
    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.gelu.default:
            self.seen.append(args[0])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("mode", [FunctionRecorder, DispatchRecorder])
def test_a_mode_that_intercepts_operators_sees_the_whole_batch(by_image, mode):
    seen = []
    with mode(seen):
        tiny()(images(3))
    assert {len(x) for x in seen} == {3}


@each_kind
def test_an_empty_batch_gives_empty_logits(by_image, kind):
    model = tiny(**KINDS[kind]).eval()
    assert model(images(0)).shape == (0, model.num_classes)


@pytest.mark.parametrize("layer", ["fc1", "act", "drop"])
def test_a_layer_can_be_wrapped_or_left_out(by_image, layer):
    model = tiny().eval()
    expected, mlp = model(images()), model.stage1[0].mlp
    setattr(mlp, layer, nn.Sequential(getattr(mlp, layer)))
    torch.testing.assert_close(model(images()), expected)
    mlp.drop = nn.Identity()
    torch.testing.assert_close(model(images()), expected)


def test_dropout_draws_for_the_whole_batch(by_image, monkeypatch):
    model = tiny(proj_drop_rate=0.5)
    torch.manual_seed(3)
    expected = model(images())
    monkeypatch.setattr(paca_vit, "_KEPT_BLOCK", 2**40)
    torch.manual_seed(3)
    assert torch.equal(model(images()), expected)


# Tracers


@each_kind
def test_a_trace_holds_for_other_batches_and_sizes(by_image, kind):
    model = tiny(**KINDS[kind]).eval()
    traced = torch.jit.trace(model, images())
    for x in (images(), images(3), images(1, 70, 90), images(2, 96, 160)):
        torch.testing.assert_close(traced(x), model(x))


@each_kind
@torch.no_grad()
def test_the_feature_extractor_of_torchvision_gives_what_hooks_see(by_image, kind):
    model = tiny(**KINDS[kind]).eval()
    names = {
        f"stage{i}.0.mlp.{layer}": layer for i in (1, 2) for layer in ("fc1", "dwconv.dwconv", "act", "fc2")
    }
    extractor = create_feature_extractor(model, return_nodes=list(names))
    with recorded(model) as calls:
        model(images())
    outputs = {module: copies[-1] for module, *_, copies in calls}
    for name, found in extractor(images()).items():
        torch.testing.assert_close(found, outputs[model.get_submodule(name)])


# Function transforms


@each_kind
def test_vmap_over_images_is_a_batch(by_image, kind):
    model = tiny(**KINDS[kind]).eval()
    x = images()
    torch.testing.assert_close(vmap(model)(x[:, None])[:, 0], model(x))


@each_kind
def test_gradients_of_each_image_sum_to_that_of_the_batch(by_image, kind):
    model = tiny(**KINDS[kind]).eval()
    weights, buffers = dict(model.named_parameters()), dict(model.named_buffers())

    def loss(weights: dict[str, Tensor], image: Tensor) -> Tensor:
        return functional_call(model, (weights, buffers), (image[None],)).square().sum()

    each = vmap(grad(loss), in_dims=(None, 0))(weights, images())
    model(images()).square().sum().backward()
    summed = {name: g.sum(dim=0) for name, g in each.items()}
    torch.testing.assert_close(summed, gradients(model), rtol=1e-4, atol=1e-5)


@each_kind
def test_forward_mode_gives_the_derivative_of_backward_mode(unfused, by_image, kind):
    model = tiny(**KINDS[kind]).eval()
    x = images(1).requires_grad_()
    _, derivative = jvp(lambda x: model(x)[0, 0], (x,), (torch.ones_like(x),))
    (gradient,) = torch.autograd.grad(model(x)[0, 0], x)
    torch.testing.assert_close(derivative, gradient.sum(), rtol=1e-4, atol=1e-5)


@each_kind
def test_a_gradient_can_be_differentiated(unfused, by_image, kind):
    model = tiny(**KINDS[kind]).eval()
    x = images().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[:, 0].sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert x.grad.abs().max() > 0


# Attention without torch's fused kernel


@each_kind
def test_plain_attention_gives_the_same_and_shows_its_weights(unfused, monkeypatch, kind):
    plain = tiny(**KINDS[kind]).eval()
    set_fused_attn(True)
    fused = tiny(**KINDS[kind]).eval()
    torch.testing.assert_close(plain(images()), fused(images()))
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", None)
    seen = []
    plain.stage1[0].attn.attn_drop.register_forward_hook(lambda module, args, output: seen.append(output))
    plain(images())
    keys = plain.num_clusters[0] or 16 * 16
    assert seen[0].shape == (2, 2, 16 * 16, keys)
    torch.testing.assert_close(seen[0].sum(dim=3), torch.ones(2, 2, 16 * 16))


def test_dropout_of_plain_attention_acts_in_training_alone(unfused):
    model = tiny(attn_drop_rate=0.5)
    torch.testing.assert_close(model.eval()(images()), tiny().eval()(images()))
    assert not torch.allclose(model.train()(images()), tiny()(images()))


def test_plain_attention_can_be_scripted(unfused, tmp_path):
    model = tiny().eval()
    torch.jit.script(model).save(tmp_path / "model.pt")
    torch.testing.assert_close(torch.jit.load(tmp_path / "model.pt")(images()), model(images()))
