"""The published code's outputs on a GPU: in each precision, memory format, eagerly and compiled."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from gpu_helpers import PRECISIONS, autocast, farthest, relative

import pacavit.models  # noqa: F401, registers the variants
from golden.fill import fill_state_dict, image_batch

pytestmark = pytest.mark.gpu

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
VARIANTS = tuple(json.loads((GOLDEN / "state_dict_shapes.json").read_text()))
FORMATS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
#: Of fp32, the largest difference; of the others, the distance over the norm of the logits.
LIMITS = {"fp32": 1e-4, "bf16": 2e-2, "fp16": 4e-3}
#: A compilation takes a minute of a processor, so that two variants stand for all in these.
COMPILED_QUICKLY = ("pacavit_tiny_p2cconv_100_0", "pacavit_convmixer_tiny_100")


def published(variant: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / f"{variant}.npz") as content:
        return {name: torch.from_numpy(value) for name, value in content.items()}


def filled(variant: str, device: torch.device, memory: str = "channels-last") -> torch.nn.Module:
    model = timm.create_model(variant).eval()
    model.load_state_dict(fill_state_dict(model.state_dict()))
    return model.to(device, memory_format=FORMATS[memory])


def compiled_cases() -> list:
    cases = []
    for variant in VARIANTS:
        for precision in PRECISIONS:
            for memory in FORMATS:
                few = variant in COMPILED_QUICKLY and memory == "channels-last"
                plain = precision == "fp32" and memory == "channels-last"
                marks = [] if few or plain else [pytest.mark.slow]
                cases.append(pytest.param(variant, precision, memory, marks=marks))
    return cases


def check_logits(model, variant, precision, memory, device, record_property) -> None:
    images = image_batch(0, 2, 224, 224).to(device, memory_format=FORMATS[memory])
    with torch.inference_mode(), autocast(device, precision):
        found = model(images)
    expected = published(variant)["logits"]
    distance = farthest if precision == "fp32" else relative
    error = distance(found, expected)
    record_property("largest difference" if precision == "fp32" else "relative error", f"{error:.2g}")
    assert error <= LIMITS[precision]


@pytest.mark.parametrize("memory", FORMATS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits(variant, precision, memory, device, record_property):
    check_logits(filled(variant, device, memory), variant, precision, memory, device, record_property)


@pytest.mark.parametrize(("variant", "precision", "memory"), compiled_cases())
def test_logits_of_the_compiled_model(variant, precision, memory, device, record_property):
    torch.compiler.reset()
    model = torch.compile(filled(variant, device, memory))
    check_logits(model, variant, precision, memory, device, record_property)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.inference_mode()
def test_assignments_of_the_first_blocks(variant, device):
    expected = published(variant)
    assignments = filled(variant, device).assignments(image_batch(0, 2, 224, 224).to(device))
    for stage, assignment in enumerate(assignments, start=1):
        name = f"stage{stage}_block1_assignment"
        assert (assignment is None) == (name not in expected)
        if assignment is not None:
            assert farthest(assignment[:1, :8].flatten(2), expected[name]) <= LIMITS["fp32"]


@pytest.mark.parametrize("variant", VARIANTS)
@torch.inference_mode()
def test_stage_features_at_an_odd_size(variant, device):
    expected = published(variant)
    if "feature1_mean" not in expected:
        pytest.skip("no published features of this variant")
    images = image_batch(1, 1, 200, 264).to(device)
    maps = filled(variant, device).forward_intermediates(images, intermediates_only=True)
    for stage, features in enumerate(maps, start=1):
        assert list(features.shape) == expected[f"feature{stage}_shape"].tolist()
        assert farthest(features.mean(dim=(2, 3)), expected[f"feature{stage}_mean"]) <= LIMITS["fp32"]
        assert farthest(features[:, :8, :4, :4], expected[f"feature{stage}_corner"]) <= LIMITS["fp32"]
