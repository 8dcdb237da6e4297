"""The optimiser's kernel, and what it takes for granted."""

import pytest
import timm
import torch

import pacavit.models  # noqa: F401, registers the variants
from pacavit.training.precision import fused_adamw


def test_one_kernel_is_taken_on_the_cpu_and_torch_chooses_elsewhere():
    assert fused_adamw(torch.device("cpu")) is True
    assert fused_adamw(torch.device("cuda")) is None


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_gradients_lie_in_memory_as_their_parameters_do(layout):
    """Torch's kernel goes through memory in its order: a gradient in another one would go to other weights."""
    model = timm.create_model("test_pacavit", num_classes=10).to(memory_format=layout)
    images = torch.randn(2, 3, 64, 64).to(memory_format=torch.channels_last)
    for _ in range(2):  # the second is added to the first
        model(images).sum().backward()
    for name, parameter in model.named_parameters():
        assert order_in_memory(parameter.grad) == order_in_memory(parameter), name


def order_in_memory(tensor: torch.Tensor) -> list[int]:
    """Return the steps between entries along the dimensions that have several."""
    return [stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]


def test_the_kernel_computes_what_single_operations_do():
    weights = []
    for fused in (True, False):
        torch.manual_seed(0)
        layer = torch.nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-2, weight_decay=0.05, fused=fused)
        for _ in range(10):
            optimizer.zero_grad()
            layer(torch.randn(2, 4, 8, 8)).square().mean().backward()
            optimizer.step()
        weights.append(layer.weight.detach())
    assert weights[0] == pytest.approx(weights[1], abs=1e-6)
