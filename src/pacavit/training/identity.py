"""What a training's states were made from, so that no other training goes on from them."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pacavit
from pacavit import params
from pacavit.errors import PacavitError
from pacavit.files import content_hash, write_json
from pacavit.stages import STAGES, Job
from pacavit.training.checkpoint import states
from pacavit.training.distributed import is_main
from pacavit.training.progress import report

IDENTITY = "identity.json"
#: ``1`` goes on although something differs.
ACCEPT = "PACAVIT_ACCEPT_CHANGES"

#: Parts of the package that have a say in the weights.
_CODE = ("data", "evaluation", "models", "openmmlab", "training")
_PACKAGES = ("torch", "torchvision", "timm", "mmengine", "mmdet", "mmsegmentation", "numpy", "pillow")


def check_identity(job: Job) -> None:
    """Write down what this training is made from, or compare that with what made the states in its work folder.

    Raises:
        PacavitError: parameters, data, code or a package's version differ; names them.
    """
    if not is_main():
        return
    path = job.work / IDENTITY
    found = identity(job)
    if states(job.work) and path.is_file():
        differences = list(_differences(json.loads(path.read_text()), found))
        if differences and os.environ.get(ACCEPT) != "1":
            raise PacavitError(
                f"{job.work}: its states were made from something else: {'; '.join(differences[:5])}; go back to that, "
                f"remove the folder to train anew, or set {ACCEPT}=1 to go on all the same"
            )
        if differences:
            report(f"{job.stage}: going on in spite of {'; '.join(differences)}")
    write_json(path, found)


def identity(job: Job) -> dict[str, str]:
    """Return all that the weights follow from, as one level of names and values."""
    values = params.select(job.params, STAGES[job.stage].params, **job.names)
    return {
        **dict(_flat("parameter ", values)),
        **{f"seed and names {key}": str(value) for key, value in job.names.items()},
        **{f"input {path}": content_hash(path) for path in job.inputs.values()},
        **{f"code {name}": digest for name, digest in _code_digests()},
        **{f"package {name}": version(name) for name in _PACKAGES},
        "package python": ".".join(platform.python_version_tuple()[:2]),
    }


def code_digest(source: str) -> str:
    """Return a hash of what Python code does: comments, docstrings and layout have no part in it."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def _code_digests() -> Iterator[tuple[str, str]]:
    root = Path(pacavit.__file__).parent
    for part in _CODE:
        for path in sorted((root / part).rglob("*.py")):
            yield str(path.relative_to(root)), code_digest(path.read_text(encoding="utf-8"))


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", json.dumps(value)


def _differences(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(then.keys() | now.keys()):
        old, new = then.get(name, "none"), now.get(name, "none")
        if old != new:
            yield name if name.startswith(("code", "input")) else f"{name} {old}, now {new}"
