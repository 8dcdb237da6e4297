"""What a file is, told from its content: the two formats of weights, or what else people save under their names."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from pacavit.errors import PacavitError

Format = Literal["safetensors", "torch"]

#: First bytes of formats that hold no weights, or none that are read here, with what to do about each.
_FIRST_BYTES = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file that it stands for", "run `git lfs pull`"),
    (b"/annex/objects/", "a git-annex pointer, not the file that it stands for", "run `git annex get`"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it first"),
    (b"BZh", "compressed by bzip2", "unpack it first"),
    (b"\xfd7zXZ\0", "compressed by xz", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed by Zstandard", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it", "convert it to safetensors"),
    (b"\x93NUMPY", "an array of NumPy", "save a dictionary of tensors with safetensors or torch.save"),
    (b"GGUF", "a GGUF file", "convert it to safetensors"),
    (b"%PDF", "a PDF document", "fetch the weights themselves"),
    (b"\x89PNG", "a PNG image", "name the file of the weights"),
    (b"\xff\xd8\xff", "a JPEG image", "name the file of the weights"),
)
#: torch before 1.6 writes pickles one after another, this number first.
_LEGACY = bytes.fromhex("6cfc9c46f9206aa85019")
_AGAIN = "fetch or make it again"


def format_of(path: Path) -> Format:
    """Return the format of a file of weights, whatever its suffix.

    Raises:
        PacavitError: the file is missing, cannot be read or is something else; the message says what.
    """
    if not path.exists():
        raise PacavitError(f"{path}: no such checkpoint; pretrain the variant first or mend the path")
    if not path.is_file():
        held = "a folder" if path.is_dir() else "no regular file"
        raise PacavitError(f"{path}: is {held}; name a file of weights, .safetensors or .pth")
    try:
        with open(path, "rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise PacavitError(
            f"{path}: cannot be read ({error.strerror}); change its rights or mend the path"
        ) from None
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32:
        return "safetensors"
    if start[:4] == b"PK\x03\x04":
        return _in_zip(path)
    if start[:1] == b"\x80" and _LEGACY in start[:64]:
        return "torch"
    raise unreadable(path, *_described(path, start))


def unreadable(path: Path, reason: str, remedy: str = _AGAIN) -> PacavitError:
    """Return the error of a file that holds no readable weights."""
    return PacavitError(f"{path}: not a readable checkpoint ({reason}); {remedy}")


def _described(path: Path, start: bytes) -> tuple[str, str]:
    """Return what a file is that holds no weights, and what to do about it."""
    for first, held, remedy in _FIRST_BYTES:
        if start.startswith(first):
            return held, remedy
    if not start:
        return "it is empty", _AGAIN
    if not start.strip(b"\0"):
        return "it begins with zeros, as an interrupted download does", _AGAIN
    if start[:1] == b"\x80":
        return "a pickle that torch.save did not write", "save the state dict with safetensors or torch.save"
    if tarfile.is_tarfile(path):
        return "a tar archive", "unpack it; if torch before 0.2 wrote it, save it again with a newer one"
    # The protobuf of ONNX begins with its version, and then the producer's name or the graph.
    if path.suffix == ".onnx" or (start[0] == 8 and start[2:3] in (b"\x12", b"\x3a")):
        return "an ONNX model, or part of one", "take the weights that it was exported from"
    return _text(start)


def _text(start: bytes) -> tuple[str, str]:
    try:
        text = start.decode("utf-8-sig", errors="strict" if len(start) < 4096 else "ignore").strip()
    except UnicodeDecodeError:
        return "its content is in no known format", _AGAIN
    if any(ord(character) < 32 and not character.isspace() for character in text):
        return "its content is in no known format", _AGAIN
    lower = text[:512].lower()
    if lower.startswith("<"):
        held = "a web page" if "<html" in lower or "<!doctype html" in lower else "XML"
        return held, "fetch the file itself, by the address that downloads it"
    if lower.startswith(("{", "[")):
        held = "JSON"
        try:
            if "weight_map" in json.loads(text):
                held = "the JSON index of weights in several files"
        except ValueError:
            pass
        return held, "name the file of the weights"
    return f"text that begins with {text.splitlines()[0][:40]!r}" if text else "blank text", _AGAIN


def _in_zip(path: Path) -> Format:
    """Return ``torch`` for a ZIP archive of torch.save."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, UnicodeError):
        raise unreadable(
            path, "a ZIP archive, as torch.save writes it, that is cut short or damaged"
        ) from None
    names = {member.filename for member in members}
    pickles = sum(name.split("/", 1)[-1] == "data.pkl" for name in names)
    if pickles > 1:
        raise unreadable(
            path, f"a ZIP archive of {pickles} files of torch.save", "unpack it and name one of them"
        )
    if pickles == 0:
        if names and all(name.endswith(".npy") for name in names):
            held = "arrays of NumPy, .npz", "save a dictionary of tensors with safetensors or torch.save"
        elif any(name.endswith(".weights.h5") for name in names):
            held = "a model of Keras", "convert it to safetensors"
        elif _has(names, "archive_format"):
            held = "a program of torch.export", "save the state_dict() of the model instead"
        else:
            held = "a ZIP archive that torch.save did not write", "unpack it, or name another file"
        raise unreadable(path, *held)
    if _has(names, "constants.pkl"):
        raise unreadable(path, "a program of TorchScript", "save the state_dict() of the model instead")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise unreadable(path, "a ZIP archive that unpacks to more bytes than it has", _AGAIN)
    return "torch"


def _has(names: Collection[str], name: str) -> bool:
    return any(found.split("/", 1)[-1] == name for found in names)
