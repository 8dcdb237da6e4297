"""Writing weights as safetensors, and a classifier as ONNX; the copy is checked before it takes its name."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pacavit.checkpoints.inspection import Inspection, inspect
from pacavit.errors import PacavitError
from pacavit.files import atomic_file
from pacavit.models import variants
from pacavit.params.targets import Model

#: Largest difference between a logit of ONNX Runtime and of torch.
TOLERANCE = 1e-4
_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def export(
    path: Path, variant: Model | str, target: Path, ema: bool = False, image_size: int | None = None
) -> str:
    """Write the weights of a file under another name, in the form of that name's suffix.

    Args:
        path: any file that :func:`pacavit.checkpoints.read` takes.
        variant: what it holds.
        target: ``.safetensors`` for the whole state dict, of any task; ``.onnx`` for a classifier.
        ema: take the averaged weights.
        image_size: side of the square images of the ONNX model, pixels; the variant's own without one.

    Returns:
        A line on what was written and how it was checked.

    Raises:
        PacavitError: the file does not fit the variant, cannot be written in that form, or the copy differs; or ONNX is
            asked for weights that are not finite.
    """
    if target.suffix not in (".safetensors", ".onnx"):
        raise PacavitError(f"{target}: expected a name that ends in .safetensors or .onnx")
    found = inspect(path, variant, ema=ema)
    if target.suffix == ".onnx":
        found.require()
        return _export_onnx(found, target, image_size)
    found.fit.require(path, f"{found.contents.variants[0]} for {found.contents.task}")
    return save_as_safetensors(found, target)


def save_as_safetensors(found: Inspection, target: Path) -> str:
    """Write the weights of a file that fits, and return a line on it.

    Raises:
        PacavitError: the copy differs from what was read.
    """
    weights = {key: value.contiguous() for key, value in found.checkpoint.weights.items()}
    with atomic_file(target) as temporary:
        # Copies, since safetensors refuses tensors that share memory.
        save_file({key: value.clone() for key, value in weights.items()}, temporary)
        _compare(weights, load_file(temporary), target)
    return f"{target}: {len(weights)} tensors, read again and equal bit for bit"


def _compare(weights: Mapping[str, Tensor], copy: Mapping[str, Tensor], target: Path) -> None:
    other = weights.keys() ^ copy.keys()
    other |= {key for key in weights.keys() & copy.keys() if not _same_bits(weights[key], copy[key])}
    if other:
        raise PacavitError(f"{target}: {min(other)} came back changed; not written, check the disk")


def _same_bits(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(one.flatten().view(torch.uint8), other.flatten().view(torch.uint8))


def _export_onnx(found: Inspection, target: Path, image_size: int | None) -> str:
    classes = found.contents.classes
    if found.contents.task != "imagenet" or classes is None:
        held = "no classifier" if found.contents.task == "imagenet" else f"a model for {found.contents.task}"
        raise PacavitError(
            f"{found.path}: holds {held}, and ONNX is for classifiers only; give --to a name that ends in .safetensors"
        )
    if missing := [name for name in _ONNX_PACKAGES if find_spec(name) is None]:
        raise PacavitError(f"{target}: ONNX needs {', '.join(missing)}; pip install 'pacavit[export]'")
    model = variants.create(found.contents.model, classes, image_size=image_size).eval()
    model.load_state_dict(found.checkpoint.weights)
    size = image_size or model.pretrained_cfg["input_size"][1]
    with atomic_file(target) as temporary:
        write_onnx(model, temporary, size)
        difference = onnx_difference(model, temporary, size)
        # Not the other way round, which would take NaN for close.
        if not difference <= TOLERANCE:
            raise PacavitError(
                f"{target}: ONNX Runtime's logits are off by {difference:.2g}, more than {TOLERANCE:g}; not written, "
                "report it with the versions of torch, onnxscript and onnxruntime"
            )
    return f"{target}: images (batch, 3, {size}, {size}) to {classes} logits, at most {difference:.2g} from torch's"


def write_onnx(model: nn.Module, path: Path, size: int) -> None:
    """Write a classifier that takes ``images`` (B, 3, size, size) of any B and gives ``logits`` (B, classes)."""
    images = torch.zeros(2, 3, size, size)
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's exporter speaks of its own deprecations
            torch.onnx.export(
                model,
                (images,),
                path,
                dynamo=True,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=False,
                verbose=False,
            )
    finally:
        logging.getLogger("torch.onnx").setLevel(level)


def onnx_difference(model: nn.Module, path: Path, size: int) -> float:
    """Return the largest difference of a logit between ONNX Runtime and torch, on batches of 1 and 3 random images."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    differences = []
    for batch in (1, 3):
        images = torch.randn(batch, 3, size, size, generator=generator)
        with torch.inference_mode():
            expected = model(images).numpy()
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        differences.append(np.abs(logits - expected).max())
    return float(np.max(differences))
