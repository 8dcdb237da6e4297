"""Small models whose weights the tests save in every form that trainers use."""

import pytest
import timm
import torch

import pacavit.models  # noqa: F401, registers the variants


@pytest.fixture(scope="session")
def model():
    torch.manual_seed(0)
    return timm.create_model("test_pacavit", num_classes=10).eval()


@pytest.fixture
def state(model):
    """The model's weights, in a dictionary of the test's own."""
    return dict(model.state_dict())


@pytest.fixture
def saved(tmp_path):
    """A function that saves what it is given as torch does, and returns the path."""

    def save(content, name="published.pth"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save
