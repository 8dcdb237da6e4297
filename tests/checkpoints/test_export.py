"""What is written equals what was read, or is not written."""

import numpy as np
import pytest
import timm
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from pacavit.checkpoints import export as module
from pacavit.checkpoints.export import export
from pacavit.cli import cli
from pacavit.errors import PacavitError

VARIANT = "test_pacavit"


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory):
    """A written ONNX model, the torch model it is of, and what the command said."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"no {package}: pip install 'pacavit[export]'")
    torch.manual_seed(0)
    model = timm.create_model(VARIANT, num_classes=10).eval()
    folder = tmp_path_factory.mktemp("onnx")
    averaged = {key: value + 0.01 for key, value in model.state_dict().items()}
    torch.save({"state_dict": averaged, "state_dict_ema": model.state_dict()}, folder / "trained.pth")
    arguments = [
        folder / "trained.pth",
        "--model",
        VARIANT,
        "--to",
        folder / "model.onnx",
        "--image-size",
        96,
        "--ema",
    ]
    result = CliRunner().invoke(cli, ["checkpoint", "export", *map(str, arguments)], catch_exceptions=False)
    return folder / "model.onnx", model, result


def test_safetensors_hold_the_weights_bit_for_bit(state, saved, tmp_path):
    state["norm1.bias"] = state["norm1.bias"].clone()
    state["norm1.bias"][:3] = torch.tensor([float("nan"), -0.0, float("inf")])
    state["norm2.bias"] = state["norm1.weight"].new_zeros(128)[::2]  # not contiguous
    path = saved({"state_dict": {f"module.{key}": value for key, value in state.items()}})
    arguments = [
        "checkpoint",
        "export",
        str(path),
        "--model",
        VARIANT,
        "--to",
        str(tmp_path / "out.safetensors"),
    ]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "161 tensors, read again and equal bit for bit" in result.output
    written = load_file(tmp_path / "out.safetensors")
    assert written.keys() == state.keys()
    assert all(np.array_equal(written[key], state[key], equal_nan=True) for key in state)
    assert torch.signbit(written["norm1.bias"][1])


def test_a_dense_model_is_written_whole(saved, tmp_path):
    from pacavit.openmmlab import models
    from pacavit.params.ade20k import UperNetParams

    encoder = models.backbone(VARIANT, None, 0.0, [24, 24, 24, 0])
    options = UperNetParams(channels=16, auxiliary_channels=8)
    state = models.build(models.upernet(encoder, 6, options, 64, "BN"), "mmseg").state_dict()
    path = saved({"meta": {"epoch": 1}, "state_dict": state})
    export(path, VARIANT, tmp_path / "out.safetensors")
    written = load_file(tmp_path / "out.safetensors")
    assert written.keys() == state.keys()
    assert all(torch.equal(written[key], state[key]) for key in state)
    with pytest.raises(PacavitError, match=r"holds a model for ade20k, and ONNX is for classifiers only"):
        export(path, VARIANT, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_a_backbone_without_classifier_has_no_onnx(state, saved, tmp_path):
    weights = {key: value for key, value in state.items() if not key.startswith("head.")}
    with pytest.raises(PacavitError, match="holds no classifier, and ONNX is for classifiers only"):
        export(saved(weights), VARIANT, tmp_path / "out.onnx")


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
def test_what_does_not_fit_is_not_written(suffix, state, saved, tmp_path):
    del state["norm4.weight"]
    with pytest.raises(PacavitError, match=r"test_pacavit for imagenet in 1 places: norm4\.weight missing"):
        export(saved(state), VARIANT, tmp_path / f"out{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == ["published.pth"]


def test_weights_of_another_variant_are_not_written(state, saved, tmp_path):
    with pytest.raises(PacavitError, match="does not fit pacavit_tiny_p2cconv_100_0 for imagenet in"):
        export(saved(state), "pacavit_tiny_p2cconv_100_0", tmp_path / "out.safetensors")


def test_a_copy_that_differs_is_not_kept(state, saved, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "load_file", lambda path: {**load_file(path), "norm1.bias": torch.ones(32)})
    with pytest.raises(PacavitError, match=r"norm1\.bias came back changed; not written"):
        export(saved(state), VARIANT, tmp_path / "out.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["published.pth"]


def test_another_suffix_is_refused(state, saved, tmp_path):
    with pytest.raises(PacavitError, match=r"out\.pt: expected a name that ends in \.safetensors or \.onnx"):
        export(saved(state), VARIANT, tmp_path / "out.pt")


def test_an_image_size_is_for_onnx(state, saved, tmp_path):
    arguments = [saved(state), "--model", VARIANT, "--to", tmp_path / "x.safetensors", "--image-size", "64"]
    result = CliRunner().invoke(cli, ["checkpoint", "export", *map(str, arguments)])
    assert result.exit_code == 2
    assert "--image-size is for .onnx" in result.output


def test_missing_packages_are_named(state, saved, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(PacavitError, match=r"ONNX needs onnxscript; pip install 'pacavit\[export\]'"):
        export(saved(state), VARIANT, tmp_path / "out.onnx")


@pytest.mark.slow
def test_onnx_gives_torchs_logits_for_any_number_of_images(onnx_file):
    path, model, result = onnx_file
    import onnxruntime

    assert result.exit_code == 0
    assert "images (batch, 3, 96, 96) to 10 logits" in result.output
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [value.name for value in (*session.get_inputs(), *session.get_outputs())] == ["images", "logits"]
    for batch in (1, 2, 5):
        images = torch.randn(batch, 3, 96, 96)
        with torch.inference_mode():
            expected = model(images).numpy()
        (logits,) = session.run(None, {"images": images.numpy()})
        np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=0)
    assert [p.name for p in path.parent.iterdir() if p.suffix != ".pth"] == [
        "model.onnx"
    ]  # one file, no second


@pytest.mark.parametrize("difference", [2e-4, float("nan")])
def test_onnx_that_differs_is_not_kept(difference, state, saved, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: name)
    monkeypatch.setattr(module, "write_onnx", lambda model, path, size: path.write_bytes(b"onnx"))
    monkeypatch.setattr(module, "onnx_difference", lambda model, path, size: difference)
    with pytest.raises(PacavitError, match=r"logits are off by .*, more than 0\.0001; not written"):
        export(saved(state), VARIANT, tmp_path / "out.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["published.pth"]


@pytest.mark.slow
def test_a_difference_is_seen(onnx_file):
    path, model, _ = onnx_file
    other = timm.create_model(VARIANT, num_classes=10).eval()
    other.load_state_dict(model.state_dict())
    assert module.onnx_difference(other, path, 96) < 1e-5
    torch.nn.init.constant_(other.head.bias, 1.0)
    assert module.onnx_difference(other, path, 96) == pytest.approx(1.0, abs=1e-4)
