"""Outputs and gradients of all published variants on a GPU, against double precision on the CPU."""

import pytest
import timm
import torch
from gpu_helpers import PRECISIONS, autocast, relative
from torch.nn import functional as F

import pacavit.models  # noqa: F401, registers the variants
from golden.fill import fill_state_dict, image_batch

pytestmark = pytest.mark.gpu

VARIANTS = tuple(sorted(timm.list_models("pacavit*")))
#: Distance over the norm: of the logits, and of the gradients of all parameters as one vector.
LIMITS = {"fp32": (1e-5, 1e-4), "bf16": (2e-2, 1e-1), "fp16": (4e-3, 2e-2)}


def step(
    model: torch.nn.Module, images: torch.Tensor, precision: str
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return logits (2, 1000) and gradients by parameter, with the batch norms on their running statistics."""
    device = images.device
    model.zero_grad(set_to_none=True)
    with autocast(device, precision):
        logits = model(images)
        loss = F.cross_entropy(logits.float() if precision != "fp32" else logits, _labels(device))
    # As the gradient scaler does, lest half precision lose small ones.
    scale = 2.0**10
    (loss * scale).backward()
    return logits, {name: p.grad.double() / scale for name, p in model.named_parameters()}


def _labels(device: torch.device) -> torch.Tensor:
    return torch.tensor([3, 500], device=device)


@pytest.fixture(scope="module", params=VARIANTS)
def reference(request):
    """A variant, its weights, images and what double precision on the CPU makes of them."""
    model = timm.create_model(request.param).eval()
    model.load_state_dict(fill_state_dict(model.state_dict()))
    images = image_batch(2, 2, 96, 160)
    return model, images, step(model.double(), images.double(), "fp32")


def test_outputs_and_gradients_are_those_of_the_cpu(reference, device, record_property):
    model, images, (logits, gradients) = reference
    model = model.float().to(device, memory_format=torch.channels_last)
    images = images.to(device)
    whole = torch.cat([g.flatten() for g in gradients.values()])
    errors = {}
    for precision in PRECISIONS:
        found_logits, found = step(model, images, precision)
        together = torch.cat([found[name].flatten().cpu() for name in gradients])
        errors[precision] = relative(found_logits, logits), relative(together, whole)
        record_property(f"{precision}, logits and gradients", "{:.2g} {:.2g}".format(*errors[precision]))
    for precision, (of_logits, of_gradients) in errors.items():
        limit = LIMITS[precision]
        assert of_logits <= limit[0], precision
        assert of_gradients <= limit[1], precision


def test_every_gradient_is_that_of_the_cpu(reference, device):
    """Each by itself; the smallest parameters, whose gradients are rounding, against the norm of all."""
    model, images, (_, gradients) = reference
    _, found = step(model.float().to(device), images.to(device), "fp32")
    whole = torch.cat([g.flatten() for g in gradients.values()]).norm()
    for name, gradient in gradients.items():
        difference = (found[name].cpu() - gradient).norm()
        assert difference <= 1e-3 * gradient.norm() + 1e-6 * whole, name
