"""The published code's outputs, for weights that depend on their keys alone, are reproduced."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import pacavit.models  # noqa: F401  (registers the variants)
from golden.fill import fill_state_dict, image_batch
from marks import tiny_first

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
SHAPES = json.loads((GOLDEN / "state_dict_shapes.json").read_text())
WITH_FEATURES = [name for name in SHAPES if "feature1_mean" in np.load(GOLDEN / f"{name}.npz").files]
TOLERANCE = 1e-4

# Parameters, and 10⁹ multiply-adds at 224 × 224, as counted on the published code.
PUBLISHED = {
    "pacavit_tiny_p2cconv_100_0": (12_200_680, 3.24),
    "pacavit_small_p2cconv_100_0": (22_037_704, 5.53),
    "pacavit_base_p2cconv_100_0": (46_911_304, 9.57),
    "pacavit_small_p2cmlp_100_0": (22_637_268, 5.89),
    "pacavit_small_p2cconv_2_0": (21_978_120, 4.67),
    "pacavit_small_p2cconv_49_0": (22_006_696, 5.08),
    "pacavit_small_p2cconv_49_100": (22_227_560, 5.30),
    "pacavit_small_p2cconv_100_49": (22_210_696, 5.36),
    "pacavit_small_p2cconv_100": (22_245_448, 5.60),
    "pacavit_small_p2cconv_100_blockwise": (24_191_944, 6.13),
    "pacavit_convmixer_tiny_100": (12_483_672, 3.38),
    "pacavit_convmixer_small_100": (21_075_064, 5.44),
    "pacavit_convmixer_base_100": (47_659_192, 9.73),
}


@pytest.fixture(scope="module", params=tiny_first(SHAPES))
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
@pytest.mark.parametrize("golden", tiny_first(WITH_FEATURES), indirect=True)
def test_stage_features_at_an_odd_size(golden):
    model, published = golden
    maps = model.forward_intermediates(image_batch(1, 1, 200, 264), intermediates_only=True)
    for stage, features in enumerate(maps, start=1):
        assert list(features.shape) == published[f"feature{stage}_shape"].tolist()
        assert close(features.mean(dim=(2, 3)), published[f"feature{stage}_mean"])
        assert close(features[:, :8, :4, :4], published[f"feature{stage}_corner"])


@pytest.mark.parametrize("name", tiny_first(PUBLISHED))
def test_number_of_parameters(name):
    model = timm.create_model(name, device="meta")
    assert sum(p.numel() for p in model.parameters()) == PUBLISHED[name][0]


@pytest.mark.parametrize("name", tiny_first(name for name in PUBLISHED if "convmixer" not in name))
def test_multiply_adds(name):
    """The teacher's are left out: the published count has fewer than its convolutions take."""
    model = timm.create_model(name, device="meta").eval()
    normed = []
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.register_forward_hook(lambda module, args, output: normed.append(output.numel()))
    # Unfused, so that the counter sees attention's own products.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model(torch.empty(1, 3, 224, 224, device="meta"))
    # The usual counter of multiply-adds, fvcore's, takes a layer norm for five an element.
    multiply_adds = counter.get_total_flops() / 2 + 5 * sum(normed)
    assert round(multiply_adds / 1e9, 2) == PUBLISHED[name][1]


def test_every_published_variant_is_registered():
    assert set(timm.list_models("pacavit*")) == set(PUBLISHED)
