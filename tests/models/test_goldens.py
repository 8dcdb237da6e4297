"""The published code's outputs, for weights that depend on their keys alone, are reproduced."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

import pacavit.models
from golden.fill import fill_state_dict, image_batch

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
SHAPES = json.loads((GOLDEN / "state_dict_shapes.json").read_text())
TOLERANCE = 1e-4

PARAMETERS = {
    "pacavit_tiny_p2cconv_100_0": 12_200_680,
    "pacavit_small_p2cconv_100_0": 22_037_704,
    "pacavit_base_p2cconv_100_0": 46_911_304,
    "pacavit_small_p2cmlp_100_0": 22_637_268,
    "pacavit_small_p2cconv_2_0": 21_978_120,
    "pacavit_small_p2cconv_49_0": 22_006_696,
    "pacavit_small_p2cconv_49_100": 22_227_560,
    "pacavit_small_p2cconv_100_49": 22_210_696,
    "pacavit_small_p2cconv_100": 22_245_448,
    "pacavit_small_p2cconv_100_blockwise": 24_191_944,
    "pacavit_convmixer_tiny_100": 12_483_672,
    "pacavit_convmixer_small_100": 21_075_064,
    "pacavit_convmixer_base_100": 47_659_192,
}


@pytest.fixture(scope="module", params=SHAPES)
def golden(request):
    """A model with the golden weights, and the published outputs."""
    model = timm.create_model(request.param).eval()
    model.load_state_dict(fill_state_dict(model.state_dict()))
    with np.load(GOLDEN / f"{request.param}.npz") as content:
        return model, {name: torch.from_numpy(value) for name, value in content.items()}


def close(found: torch.Tensor, published: torch.Tensor) -> bool:
    return (found - published).abs().max().item() <= TOLERANCE


def test_keys_and_shapes_are_the_published_ones(golden):
    model, _ = golden
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert shapes == SHAPES[model.default_cfg["architecture"]]


@torch.inference_mode()
def test_logits(golden):
    model, published = golden
    assert close(model(image_batch(0, 2, 224, 224)), published["logits"])


@torch.inference_mode()
def test_assignments_of_the_first_blocks(golden):
    model, published = golden
    assignments = model.assignments(image_batch(0, 2, 224, 224))
    for stage, assignment in enumerate(assignments, start=1):
        name = f"stage{stage}_block1_assignment"
        assert (assignment is None) == (name not in published)
        if assignment is not None:
            assert close(assignment[:1, :8].flatten(2), published[name])


@torch.inference_mode()
def test_stage_features_at_an_odd_size(golden):
    model, published = golden
    if "feature1_mean" not in published:
        pytest.skip("no published features of this variant")
    maps = model.forward_intermediates(image_batch(1, 1, 200, 264), intermediates_only=True)
    for stage, features in enumerate(maps, start=1):
        assert list(features.shape) == published[f"feature{stage}_shape"].tolist()
        assert close(features.mean(dim=(2, 3)), published[f"feature{stage}_mean"])
        assert close(features[:, :8, :4, :4], published[f"feature{stage}_corner"])


@pytest.mark.parametrize("name", PARAMETERS)
def test_number_of_parameters(name):
    with torch.device("meta"):
        model = pacavit.models.PaCaViT(**pacavit.models.variant_config(name))
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
