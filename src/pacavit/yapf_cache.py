"""Lets processes that start at the same time import yapf, which mmengine imports.

yapf keeps its parsed grammar in the user's cache. It gives the new file its final name before the last bytes are
written, so another process may read a part of it, and its import ends with EOFError. That happens to the first two
jobs after each installation, for yapf compares the cache's time with the package's.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from functools import partialmethod
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_READER = "yapf_third_party._ylib2to3.pygram"
_WRITER = "yapf_third_party._ylib2to3.pgen2.grammar"


class _Finder:
    """Finds nothing: it replaces the function that writes the cache before the module that reads it is imported."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == _READER:
            sys.meta_path.remove(_Finder)
            grammar = importlib.import_module(_WRITER).Grammar
            grammar.dump = partialmethod(_dump, grammar.dump)
        return None


def install() -> None:
    """Let the cache be written safely once yapf is imported; a second call changes nothing."""
    if _Finder not in sys.meta_path and _READER not in sys.modules:
        sys.meta_path.insert(0, _Finder)


def _dump(grammar: Any, dump: Callable[[Any, str], None], filename: str) -> None:
    """Write the tables of a grammar to a file, whose name appears when all of it is there."""
    temporary = f"{filename}.{os.getpid()}"
    dump(grammar, temporary)
    os.replace(temporary, filename)
