"""The code that a stage's results depend on: the modules that its function's module imports, and theirs.

A digest is blind to comments, docstrings and layout. What a module's source says is analysed once and remembered by
the hash of the source: parsing all modules took half of the time of `snakemake -n`.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pacavit
from pacavit.pipeline import content
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
    names = {".".join(module.split(".")[:end]) for end in range(2, module.count(".") + 1)}
    names.update(_analysed()[module][1])
    return tuple(sorted(name for name in names if _file(name) is not None))


@cache
def module_digest(module: str) -> str:
    """Return a hash of what a module's code does, or of the files of a folder that is no package."""
    if _file(module) is not None:
        return _analysed()[module][0]
    files = sorted(path for path in _place(module).rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


@cache
def _analysed() -> dict[str, tuple[str, list[str]]]:
    """Return, for each module of the package, the digest of its code and the names that it may import."""
    sources = {_module(file): file.read_bytes() for file in sorted(_ROOT.rglob("*.py"))}
    # By this name it is remembered, beside the hashes of files.
    keys = {module: Path("code of", module) for module in sources}
    # It holds for this Python and the code below, too.
    analyst = sys.version.encode() + Path(__file__).read_bytes()
    signatures = {
        keys[module]: hashlib.sha256(analyst + source).hexdigest() for module, source in sources.items()
    }
    known = content.known(signatures)
    fresh = {
        keys[module]: json.dumps(_analyse(source))
        for module, source in sources.items()
        if keys[module] not in known
    }
    content.remember(signatures, fresh)
    return {module: json.loads((known | fresh)[key]) for module, key in keys.items()}


def _analyse(source: bytes) -> tuple[str, list[str]]:
    try:
        return code_digest(source), sorted(_names(ast.parse(source)))
    except (SyntaxError, ValueError):
        return hashlib.sha256(source).hexdigest()[:16], []  # whatever imports it says what is wrong


def _names(tree: ast.Module) -> set[str]:
    """Return what a module imports of this package by name, modules and what is in them alike."""
    names: set[str] = set()
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
    return {name for name in names if name.startswith("pacavit.")}


def code_digest(source: str | bytes) -> str:
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


@cache
def _file(module: str) -> Path | None:
    place = _place(module)
    return next((p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()), None)


def _module(file: Path) -> str:
    parts = file.relative_to(_ROOT).with_suffix("").parts
    return ".".join(["pacavit", *(parts[:-1] if parts[-1] == "__init__" else parts)])


def _place(module: str) -> Path:
    return _ROOT.joinpath(*module.split(".")[1:])
