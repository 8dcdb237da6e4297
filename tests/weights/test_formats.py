"""A file is what its content says: weights are read whatever the suffix, and anything else is named."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pacavit.errors import PacavitError
from pacavit.weights import read


def written(write):
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def torch_file(**options):
    return written(lambda file: torch.save({"w": torch.arange(4.0)}, file, **options))


def zip_of(*names):
    def write(file):
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                archive.writestr(name, b"content")

    return written(write)


def bomb():
    def write(file):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("w/data.pkl", bytes(1 << 20))

    return written(write)


def tar_of(*names):
    def write(file):
        with tarfile.open(fileobj=file, mode="w") as archive:
            for name in names:
                archive.addfile(tarfile.TarInfo(name))

    return written(write)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4665a5ea\nsize 12345\n"
OTHERS = {
    "empty": (b"", "it is empty"),
    "zeros": (bytes(5000), "it begins with zeros, as an interrupted download does"),
    "noise": (b"\x13\xfe\xff\x00noise", "its content is in no known format"),
    "blank text": (b"\n \n", "blank text"),
    "text": (b"Not Found\n", "text that begins with 'Not Found'"),
    "page": (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "a web page"),
    "page with a mark": (b"\xef\xbb\xbf<HTML>", "a web page"),
    "long page": (b"<html>" + "ü".encode() * 5000, "a web page"),
    "XML": (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "XML"),
    "pointer": (POINTER, "a Git LFS pointer, .*run `git lfs pull`"),
    "annex": (b"/annex/objects/MD5-s1--00\n", "a git-annex pointer"),
    "JSON": (b'{"error": "gated"}', "JSON"),
    "list": (b"[1, 2]", "JSON"),
    "index": (json.dumps({"weight_map": {"w": "1.safetensors"}}).encode(), "the JSON index of weights"),
    "gzip": (gzip.compress(torch_file()), "compressed by gzip.*unpack it first"),
    "bzip2": (bz2.compress(torch_file()), "compressed by bzip2"),
    "xz": (lzma.compress(torch_file()), "compressed by xz"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04\x00", "compressed by Zstandard"),
    "HDF5": (b"\x89HDF\r\n\x1a\n\0\0", "an HDF5 file, as Keras writes it"),
    "npy": (written(lambda file: np.save(file, np.ones(3))), "an array of NumPy"),
    "npz": (written(lambda file: np.savez(file, w=np.ones(3))), "arrays of NumPy, .npz"),
    "keras": (zip_of("metadata.json", "config.json", "model.weights.h5"), "a model of Keras"),
    "ONNX": (b"\x08\x0a\x12\x07pytorch", "an ONNX model"),
    "GGUF": (b"GGUF\x03\0\0\0", "a GGUF file"),
    "pickle": (pickle.dumps({"w": [1.0]}), "a pickle that torch.save did not write"),
    "zip": (zip_of("model.pth"), "a ZIP archive that torch.save did not write"),
    "TorchScript": (zip_of("m/data.pkl", "m/constants.pkl"), "a program of TorchScript"),
    "torch.export": (zip_of("m/archive_format", "m/models/model.json"), "a program of torch.export"),
    "two": (zip_of("a/data.pkl", "b/data.pkl"), "a ZIP archive of 2 files of torch.save"),
    "bomb": (bomb(), "a ZIP archive that unpacks to more bytes than it has"),
    "cut zip": (torch_file()[:-100], "a ZIP archive, .* that is cut short"),
    "start of a zip": (torch_file()[:30], "a ZIP archive, .* that is cut short"),
    "cut legacy": (torch_file(_use_new_zipfile_serialization=False)[:-5], "."),
    "tar": (tar_of("readme"), "a tar archive"),
    "old torch": (tar_of("sys_info", "storages", "tensors", "pickle"), "a tar archive"),
    "PNG": (b"\x89PNG\r\n\x1a\n", "a PNG image"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kind", OTHERS)
def test_what_holds_no_weights_is_named(kind, suffix, tmp_path):
    content, message = OTHERS[kind]
    path = tmp_path / f"fetched{suffix}"
    path.write_bytes(content)
    with pytest.raises(
        PacavitError, match=rf"fetched{suffix}: not a readable checkpoint \({message}"
    ) as found:
        read(path)
    assert "weights_only" not in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.bin", "w.ckpt", "w"])
def test_safetensors_are_read_whatever_the_suffix(name, state, tmp_path):
    save_file(state, tmp_path / name)
    assert read(tmp_path / name).weights.keys() == state.keys()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.bin", "w.tar", "w"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saved_is_read_of_any_protocol(name, protocol, zipped, tmp_path):
    weights = {
        "float": torch.arange(6.0).view(2, 3).T,
        "half": torch.ones(2).bfloat16(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "counter": torch.tensor(3),
        "nothing": torch.ones(0, 3),
    }
    if zipped:  # torch's older format has no such type
        weights["eight bits"] = torch.ones(2).to(torch.float8_e4m3fn)
    content = {
        "state_dict": weights,
        "rates": np.ones(3),
        "best": np.float64(1),
        "seen": {1, 2},
        "raw": [b"x", bytearray(b"y")],
    }
    path = tmp_path / name
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    found = read(path).weights
    assert found.keys() == weights.keys()
    for key, value in weights.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key].float(), value.float())
        assert not found[key].requires_grad


def test_tied_weights_are_read(tmp_path):
    weight = torch.randn(3, 4)
    torch.save({"a": weight, "b": weight, "row": weight[1]}, tmp_path / "tied.pth")
    found = read(tmp_path / "tied.pth").weights
    assert torch.equal(found["a"], weight)
    assert torch.equal(found["b"], weight)
    assert torch.equal(found["row"], weight[1])


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(PacavitError, match="is a folder; name a file of weights"):
        read(tmp_path)


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_is_refused_under_every_protocol(protocol, tmp_path):
    ran = tmp_path / "ran"

    class Payload:
        def __reduce__(self):
            return open, (str(ran), "w")

    torch.save({"w": torch.ones(1), "x": Payload()}, tmp_path / "evil.pth", pickle_protocol=protocol)
    with pytest.raises(PacavitError, match=r"it asks for \w*io\.open, which is code and no weight"):
        read(tmp_path / "evil.pth")
    assert not ran.exists()


def quantised():
    return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)


ODD = {
    "expanded": (lambda: torch.ones(1).expand(10**6, 10**6), "an expanded tensor of 1,000,000,000,000 values"),
    "broadcast": (lambda: torch.ones(3, 1).expand(3, 4), "an expanded tensor of 12 values, of which 3 are stored"),
    "meta": (lambda: torch.ones(3, device="meta"), "a meta tensor; expected a plain one"),
    "COO": (lambda: torch.eye(3).to_sparse(), "a sparse tensor; expected a plain one"),
    "CSR": (lambda: torch.eye(3).to_sparse_csr(), "a sparse tensor; expected a plain one"),
    "quantised": (quantised, "a quantised tensor; expected a plain one"),
    "nested": (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "a nested tensor"),
    "complex": (lambda: torch.ones(3, dtype=torch.complex64), "a complex tensor"),
    "list": (lambda: [1.0], "no tensor; expected tensors by key"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ODD)
def test_a_tensor_that_is_no_plain_one_is_named(kind, saved):
    make, message = ODD[kind]
    path = saved({"state_dict": {"plain": torch.ones(1), "layer.weight": make()}})
    with pytest.raises(PacavitError, match=rf"published\.pth: 'layer\.weight' is {message}"):
        read(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ODD)
def test_a_state_dict_in_memory_is_checked_alike(kind):
    """timm reads a file itself, and hands on what it holds."""
    from pacavit.models.paca_vit import checkpoint_filter_fn

    make, message = ODD[kind]
    with pytest.raises(PacavitError, match=rf"'layer\.weight' is {message}"):
        checkpoint_filter_fn({"layer.weight": make()})


def test_names_are_strings(saved):
    with pytest.raises(PacavitError, match="its key 7 is no string; expected tensors by name"):
        read(saved({"state_dict": {7: torch.ones(1)}}))
