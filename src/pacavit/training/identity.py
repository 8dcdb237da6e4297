"""What a training's states were made from, so that no other training goes on from them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from pacavit.errors import PacavitError
from pacavit.files import content_hash, json_object, write_json
from pacavit.job import Job
from pacavit.pipeline import code
from pacavit.pipeline.table import STAGES
from pacavit.runtime.distributed import is_main
from pacavit.runtime.progress import report
from pacavit.training.checkpoint import states

IDENTITY = "identity.json"
#: ``1`` goes on although something differs.
ACCEPT = "PACAVIT_ACCEPT_CHANGES"

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
        differences = list(_differences(json_object(path), found))
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
    return {
        **dict(_flat("parameter ", job.values)),
        **{f"seed and names {key}": str(value) for key, value in job.names.items()},
        **{f"input {path}": content_hash(path) for path in job.inputs.values()},
        **{f"code {module}": code.module_digest(module) for module in code.modules(STAGES[job.stage])},
        **{f"package {name}": version(name) for name in _PACKAGES},
        "package python": ".".join(platform.python_version_tuple()[:2]),
    }


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
