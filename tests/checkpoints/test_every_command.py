"""Whatever reads weights checks them first and says the same of them."""

from pathlib import Path

import pytest
import timm
import torch
from click.testing import CliRunner
from PIL import Image

from pacavit.cli import cli
from pacavit.errors import PacavitError
from pacavit.weights import load

VARIANT = "test_pacavit"


def typed(*words):
    CliRunner().invoke(cli, list(map(str, words)), catch_exceptions=False, standalone_mode=False)


def backbone(path):
    from pacavit.openmmlab.backbone import PaCaViTBackbone

    PaCaViTBackbone(VARIANT, str(path))


def image():
    Image.new("RGB", (64, 64)).save("image.png")
    return "image.png"


def predict(path):
    Path("names.txt").write_text("\n".join("abcdefghij"))
    options = ["--weights", path, "--model", VARIANT, "--classes", "names.txt", "--to", "found"]
    typed("predict", "imagenet", image(), *options)


READERS = {
    "inspect": lambda path: typed("checkpoint", "inspect", path),
    "export": lambda path: typed("checkpoint", "export", path, "--model", VARIANT, "--to", "w.safetensors"),
    "ONNX": lambda path: typed("checkpoint", "export", path, "--model", VARIANT, "--to", "w.onnx"),
    "predict": predict,
    "explain": lambda path: typed("explain", image(), "--weights", path, "--to", "seen"),
    "fine-tuning": backbone,
    "evaluation": lambda path: load(timm.create_model(VARIANT, num_classes=10), path),
}


def expanded(state):
    state["norm1.bias"] = torch.zeros(1).expand(10**6, 10**6)


def sparse(state):
    state["head.weight"] = state["head.weight"].to_sparse()


def whole(state):
    state["norm1.bias"] = torch.ones(32, dtype=torch.int8)


def nan(state):
    state["norm1.bias"] = torch.tensor([torch.nan, torch.inf, *[0.0] * 30])


FAULTS = {
    expanded: "'norm1.bias' is an expanded tensor of 1,000,000,000,000 values",
    sparse: "'head.weight' is a sparse tensor; expected a plain one",
    whole: r"norm1\.bias is torch\.int8, not torch\.float32",
    nan: r"norm1\.bias is not finite: 2 of 32 values are NaN or infinite",
}
#: `inspect` lists what does not fit instead, and safetensors take the weights bit for bit.
TAKEN = {("inspect", whole), ("inspect", nan), ("export", nan)}
CASES = [(reader, fault) for reader in READERS for fault in FAULTS if (reader, fault) not in TAKEN]


@pytest.mark.parametrize(("reader", "fault"), CASES)
def test_weights_that_no_model_can_take_are_refused(reader, fault, state, saved, project):
    fault(state)
    path = saved(state)
    before = {*project.iterdir(), project / "image.png", project / "names.txt"}
    with pytest.raises(PacavitError, match=rf"published\.pth: .*{FAULTS[fault]}"):
        READERS[reader](path)
    assert set(project.iterdir()) <= before


@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_holds_no_weights_is_told(reader, project):
    path = project / "page.pth"
    path.write_text("<!doctype html><title>Sign in</title>")
    with pytest.raises(PacavitError, match=r"page\.pth: not a readable checkpoint \(a web page\)"):
        READERS[reader](path)


def test_inspect_lists_values_that_are_not_finite_or_not_real(state, saved):
    nan(state)
    state["norm2.bias"] = torch.ones(64, dtype=torch.int8)
    result = CliRunner().invoke(cli, ["checkpoint", "inspect", str(saved(state))])
    assert result.exit_code == 1
    assert "fit       160 of the model's 161 keys, 2 problems\n" in result.output
    assert result.output.splitlines()[-2:] == [
        "mistyped  norm2.bias: torch.int8 in the file, torch.float32 in the model",
        "infinite  norm1.bias: 2 of 32 values are NaN or infinite",
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e5m2])
def test_real_numbers_of_any_width_fit(dtype, state, saved):
    path = saved({key: value.to(dtype) for key, value in state.items()})
    model = timm.create_model(VARIANT, num_classes=10)
    load(model, path)
    assert torch.equal(model.norm1.bias, state["norm1.bias"].to(dtype).float())
