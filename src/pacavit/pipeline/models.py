"""The variants' models as the pipeline knows them: whether they can be used, and which files of the user define them.

A PaCa-ViT is told by its name. Any other model is made once on the meta device, and what was found is kept in
:data:`FOLDER`, so that a plan imports torch only for what is new.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pacavit import params
from pacavit.errors import PacavitError
from pacavit.files import json_object, write_json
from pacavit.params.targets import Model
from pacavit.paths import modules
from pacavit.pipeline import content
from pacavit.pipeline.table import STAGES, Names
from pacavit.tasks import HEADS

#: Holds what was found of models; it may be removed at any time.
FOLDER = Path("work/models")


def require(given: params.Params, jobs: Sequence[tuple[str, Names]]) -> None:
    """Do nothing if the models of all jobs have the four maps that the pipeline is made for, and what a stage is about.

    Raises:
        PacavitError: one has not, or cannot be made, as of :func:`pacavit.models.variants.describe`; or it has no
            clusters, and the job is about these.
    """
    for stage, names in jobs:
        model = given.targets.model(str(names.get("variant", "")))
        if not model.takes(str(names.get("head", ""))):
            others = ", ".join(head for head in HEADS if model.takes(head))
            raise PacavitError(
                f"{model.variant} has no clusters, so the PaCa head is not for it; take {others}"
            )
        if STAGES[stage].clusters and not model.has_clusters:
            raise PacavitError(f"{model.variant} has no clusters, and stage {stage} is about these alone")
    trained = [names for stage, names in jobs if not STAGES[stage].released]
    for variant in dict.fromkeys(names["variant"] for names in trained if "variant" in names):
        model = given.targets.model(str(variant))
        if not model.is_paca or model.kwargs:
            _known(model)


def parameters(given: params.Params, stage: str, names: Names) -> tuple[str, ...]:
    """Return the keys of the parameters that determine a job, as of :func:`pacavit.params.select`.

    Beside those of its stage, how its variant is created, if ``targets.yaml`` says that.
    """
    own = _makes_model(stage) and names.get("variant") in given.targets.models
    return (*STAGES[stage].params, *(("targets:models.{variant}",) if own else ()))


def _makes_model(stage: str) -> bool:
    return "weights" in {*STAGES[stage].inputs, *STAGES[stage].outputs}


def sources(given: params.Params, stage: str, names: Names) -> list[Path]:
    """Return the files and folders of the user that define the model of a job; of one that cannot be used, all."""
    if "variant" not in names or not _makes_model(stage):
        return []
    model = given.targets.model(str(names["variant"]))
    if model.is_paca or not model.imports:
        return []
    paths = modules(model.imports)
    try:
        top = _known(model)["module"].partition(".")[0]
    except PacavitError:
        return paths  # such a job does not run
    return [path for path in paths if path.stem == top]


def hashes(given: params.Params, stage: str, names: Names) -> dict[str, str]:
    """Return the hashes of :func:`sources`, by path."""
    return {str(path): str(content.digest(path)) for path in sources(given, stage, names)}


def _known(model: Model) -> dict[str, Any]:
    """Return what :func:`pacavit.models.variants.describe` finds of a model, or found of the same earlier."""
    made_of = {
        "model": [model.model, model.kwargs, model.imports],
        "sources": {str(path): content.digest(path) for path in modules(model.imports)},
        "versions": {name: version(name) for name in ("timm", "torch")},
    }
    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:24]
    path = FOLDER / f"{key}.json"
    if not (found := json_object(path)):
        from pacavit.models import variants

        found = variants.describe(model)
        write_json(path, {**made_of, **found})
    return found
