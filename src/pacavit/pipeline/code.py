"""The code that a stage's results depend on: the modules that its function's module imports, and theirs.

A digest is blind to comments, docstrings and layout.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import pacavit
from pacavit.pipeline.table import STAGES, Stage

#: Modules and packages that tell, track, start or check, and change no result.
WITHOUT_RESULTS = (
    "pacavit.cli",
    "pacavit.runtime.environment",
    "pacavit.errors",
    "pacavit.params",
    "pacavit.paths",
    "pacavit.pipeline",
    "pacavit.redaction",
    "pacavit.tracking",
    "pacavit.runtime.interruption",
    "pacavit.runtime.progress",
    "pacavit.runtime.slurm",
    "pacavit.training.guards",
    "pacavit.training.identity",
)

_ROOT = Path(pacavit.__file__).parent


def digests() -> dict[str, str]:
    """Return the digest of every stage's code."""
    return {name: digest(stage) for name, stage in STAGES.items()}


def digest(stage: Stage) -> str:
    """Return a hash of the code of a stage."""
    parts = [f"{module} {module_digest(module)}" for module in modules(stage)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def modules(stage: Stage) -> list[str]:
    """Return the modules that a stage's results depend on, in alphabetical order."""
    found: set[str] = set()
    pending = [stage.function.partition(":")[0], *stage.code]
    while pending:
        module = pending.pop()
        if module not in found and not has_no_results(module):
            found.add(module)
            pending += imported(module)
    return sorted(found)


def has_no_results(module: str) -> bool:
    """Return whether a module is one of :data:`WITHOUT_RESULTS` or below one."""
    return any(module == name or module.startswith(f"{name}.") for name in WITHOUT_RESULTS)


@cache
def imported(module: str) -> tuple[str, ...]:
    """Return the modules of this package that a module imports, anywhere in it, and the packages that hold it.

    Those that type checkers alone import do not count.
    """
    if _file(module) is None:
        return ()
    tree = ast.parse(_source(module))
    names = {".".join(module.split(".")[:end]) for end in range(2, module.count(".") + 1)}
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return tuple(sorted(name for name in names if name.startswith("pacavit.") and _file(name) is not None))


@cache
def module_digest(module: str) -> str:
    """Return a hash of what a module's code does, or of the files of a folder that is no package."""
    if _file(module) is not None:
        return code_digest(_source(module))
    files = sorted(path for path in _place(module).rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def code_digest(source: str) -> str:
    """Return a hash of what Python code does: comments, docstrings and layout have no part in it."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    return hashlib.sha256(repr(_plain(tree)).encode()).hexdigest()[:16]


def _plain(node: Any) -> Any:
    """Return a syntax tree without what versions of Python add to it: empty fields, and kinds of strings."""
    if isinstance(node, ast.AST):
        fields = ((field, getattr(node, field, None)) for field in node._fields if field != "kind")
        return type(node).__name__, [
            (field, _plain(value)) for field, value in fields if value not in (None, [])
        ]
    return [_plain(value) for value in node] if isinstance(node, list) else node


def _source(module: str) -> str:
    return _file(module).read_text(encoding="utf-8")


@cache
def _file(module: str) -> Path | None:
    place = _place(module)
    return next((p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()), None)


def _place(module: str) -> Path:
    return _ROOT.joinpath(*module.split(".")[1:])
