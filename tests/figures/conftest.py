"""Images and weights that figures are drawn from, and a browser for the pages."""

from functools import partial

import numpy as np
import pytest
import timm
import torch
from browser import chromium, window
from PIL import Image
from safetensors.torch import save_file

import pacavit.models  # noqa: F401, registers the variants


@pytest.fixture(scope="session")
def photo(tmp_path_factory):
    """A file with a dark disc on a light ground."""
    y, x = np.mgrid[:48, :64]
    pixels = np.full((48, 64, 3), 220, np.uint8)
    pixels[(y - 24) ** 2 + (x - 40) ** 2 < 150] = (30, 60, 90)
    path = tmp_path_factory.mktemp("photo") / "disc.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    """A file of random weights of the smallest variant."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "classifier.safetensors"
    save_file(timm.create_model("test_pacavit", num_classes=10).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def segmentor(tmp_path_factory):
    """A file of random weights of a segmentor with the PaCa head and three classes."""
    from pacavit.openmmlab import models
    from pacavit.params.ade20k import PacaHeadParams

    torch.manual_seed(0)
    options = PacaHeadParams(channels=16, cluster_loss_weight=0.4, lr_multiplier=1.0, multiplied="meant")
    encoder = models.backbone("test_pacavit", None, 0.0, [8, 8, 8, 0])
    model = models.build(models.paca_segmentor(encoder, 3, options, 64, "BN"), "mmseg")
    path = tmp_path_factory.mktemp("weights") / "segmentor.safetensors"
    save_file(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def opened():
    """A function that opens an address in the browser: a context manager that gives the page, watched."""
    with chromium() as browser:
        yield partial(window, browser)
