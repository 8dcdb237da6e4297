"""What an optimiser does with each parameter, whatever groups it keeps them in."""

from typing import Any

import torch


def options_by_name(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Any]]:
    """Return the optimiser's group of every parameter of a model that is trained, each of which it holds once."""
    held = [(id(p), group) for group in optimizer.param_groups for p in group["params"]]
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert len(held) == len(dict(held)) == len(trained)
    return {name: dict(held)[id(p)] for name, p in trained.items()}
