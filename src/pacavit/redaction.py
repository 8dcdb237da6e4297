"""Takes passwords out of what is printed and written down."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TextIO

_USER = re.compile(r"(?<=://)[^/\s'\"]*@")
_QUERY = re.compile(r"(?i)([?&][\w.-]*(?:password|passwd|token|secret|key|signature)=)[^&\s'\"]*")


def without_passwords(text: str) -> str:
    """Return a text whose addresses have neither user and password nor secrets among their parameters."""
    return _QUERY.sub(r"\1***", _USER.sub("", text))


class _Redacted(io.TextIOBase):
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Pass a text on without passwords."""
        self._stream.write(without_passwords(text))
        return len(text)

    def flush(self) -> None:
        """Pass on what is held back."""
        self._stream.flush()


@contextmanager
def redacted_output() -> Iterator[None]:
    """Take passwords out of what is printed in the block, by other packages too."""
    with redirect_stdout(_Redacted(sys.stdout)), redirect_stderr(_Redacted(sys.stderr)):
        yield
