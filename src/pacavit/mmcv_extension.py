"""``mmcv._ext`` where ``mmcv-lite`` has none: found when it is imported, so that nothing is imported before."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

NAME = "mmcv._ext"


class _Finder:
    """The last of the finders, so that a compiled mmcv is found before."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, _Finder) if name == NAME else None

    @staticmethod
    def create_module(spec: ModuleSpec) -> ModuleType:
        # By name, since everything imports this module.
        return importlib.import_module("pacavit.openmmlab.ops").adapter()

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Do nothing: it has its operators already."""


def install() -> None:
    """Let ``mmcv._ext`` be found; a second call changes nothing."""
    if _Finder not in sys.meta_path:
        sys.meta_path.append(_Finder)
