"""Reading what ``torch.save`` wrote, of any pickle protocol, without running code in it.

``torch.load(weights_only=True)`` knows the instructions of protocol 2 alone. Those of newer protocols are written as
such before: a change of form that makes and calls nothing. torch then judges the file as any other.
"""

from __future__ import annotations

import io
import pickletools  # nosec B403
import re
import shutil
import struct
import warnings
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import torch

#: Pickles before the storages in the format of torch before 1.6.
_LEGACY_PICKLES = 5


class Unread:
    """What stands beside the weights, arguments and logs, comes as this: built of anything, holding nothing."""

    def __new__(cls, *args: Any) -> Unread:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        """Forget the state."""


# Named by timm's trainer (its arguments) and by mmengine (a log is a HistoryBuffer of numpy arrays whose methods
# are pickled as getattr). None of these is ever called: each name stands for Unread.
_UNREAD = (
    "argparse.Namespace",
    "builtins.frozenset",
    "builtins.getattr",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "numpy.dtype",
    "numpy.ndarray",
    *(
        f"numpy.{core}.{function}"
        for core in ("core", "_core")
        for function in ("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer")
    ),
)


def load(path: Path) -> Any:
    """Return what ``torch.save`` wrote, on the CPU.

    Raises:
        Exception: of torch or of the standard library, where the file is damaged or asks for code; :func:`reason`
            puts it in words.
    """
    with (
        open(path, "rb") as file,
        torch.serialization.safe_globals([(Unread, name) for name in _UNREAD]),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # of types that torch has deprecated
        # A file and not its path, of which torch would take the suffix for the format.
        return torch.load(_in_protocol_2(file), map_location="cpu", weights_only=True)


def reason(error: Exception) -> tuple[str, str]:
    """Return in one line why a file could not be loaded, without torch's advice to let code run, and what to do."""
    text = str(error)
    alone = "save the tensors alone, by state_dict()"
    if refused := re.search(r"GLOBAL ([\w.]+)", text):
        return f"it asks for {refused[1]}, which is code and no weight, and was not run", alone
    if "weights_only" in text:
        return "it holds more than tensors and plain values", alone
    return (text.splitlines() or [type(error).__name__])[0], "fetch or make it again"


def _in_protocol_2(file: BinaryIO) -> BinaryIO:
    """Return the file, or a copy in memory whose pickles are of protocol 2."""
    if not zipfile.is_zipfile(file):
        file.seek(0)
        if _protocol(file) == 2:
            return file
        copy = io.BytesIO()
        for _ in range(_LEGACY_PICKLES):
            copy.write(_rewritten(file))
        shutil.copyfileobj(file, copy)
    else:
        with zipfile.ZipFile(file) as archive:
            (name,) = (n for n in archive.namelist() if PurePosixPath(n).parts[1:] == ("data.pkl",))
            with archive.open(name) as content:
                if _protocol(content) == 2:
                    file.seek(0)
                    return file
            copy = io.BytesIO()
            with zipfile.ZipFile(copy, "w") as rewritten:
                for other in archive.namelist():
                    content = archive.read(other)
                    rewritten.writestr(other, _rewritten(io.BytesIO(content)) if other == name else content)
    copy.seek(0)
    return copy


def _protocol(file: BinaryIO) -> int:
    start = file.read(2)
    file.seek(0)
    return start[1] if start[:1] == b"\x80" else 0


def _rewritten(file: BinaryIO) -> bytes:
    """Return the pickle that begins here with instructions of protocol 2, and leave the file at its end.

    Bytes become empty tuples and sets lists, since no weight is one.
    """
    start = file.tell()
    instructions = list(pickletools.genops(file))
    end = file.tell()
    file.seek(start)
    raw = file.read(end - start)
    bounds = [position - start for _, _, position in instructions] + [end - start]
    written: list[bytes] = []
    strings: dict[int, bytes] = {}  # of the memo: written out where they are used
    count = 0
    for (code, argument, _), begin, after in zip(instructions, bounds, bounds[1:], strict=False):
        match code.name:
            case "PROTO":
                written.append(b"\x80\x02")
            case "FRAME":
                pass
            case "MEMOIZE":
                if written[-1][:1] == b"X":
                    strings[count] = written[-1]
                else:
                    written.append(b"r" + struct.pack("<I", count))
                count += 1
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINUNICODE8":
                text = argument.encode("utf-8", "surrogatepass")
                written.append(b"X" + struct.pack("<I", len(text)) + text)
            case "BINGET" | "LONG_BINGET" if argument in strings:
                written.append(strings[argument])
            case "STACK_GLOBAL":
                name, module = written.pop(), written.pop()
                if name[:1] != b"X" or module[:1] != b"X" or b"\n" in module[5:] + name[5:]:
                    raise ValueError("its pickle names something by no plain string")
                written.append(b"c" + module[5:] + b"\n" + name[5:] + b"\n")
            case "EMPTY_SET":
                written.append(b"]")
            case "ADDITEMS":
                written.append(b"e")
            case "FROZENSET":
                written.append(b"t")
            case "SHORT_BINBYTES" | "BINBYTES" | "BINBYTES8" | "BYTEARRAY8":
                written.append(b")")
            case _:
                written.append(raw[begin:after])
    return b"".join(written)
