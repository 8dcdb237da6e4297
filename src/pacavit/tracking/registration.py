"""Final weights as a model of a run in MLflow, and a version of a registered one; torch is not needed for it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Run
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

import pacavit
from pacavit.files import sha256
from pacavit.paths import modules
from pacavit.tracking import served

# It says of each model that it looks at the example.
logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)

#: Tag with the hash of a model's file of weights, by which it is found again.
_WEIGHTS = "pacavit.weights"
#: Side of the example's images, pixels: any size will do, and this one's JSON is small.
_EXAMPLE_SIDE = 64
#: What a model needs besides this package, whose other needs are those of training and reports.
_COMMON = ("filelock", "numpy", "safetensors", "timm", "torch", "torchvision")
_DENSE = (
    *("ftfy", "mmcv-lite", "mmdet", "mmengine", "mmsegmentation", "opencv-python", "pandas", "pycocotools"),
    *("pydantic", "regex", "ruamel.yaml", "scipy", "setuptools"),
)


def model_name(scale: str, stage: str, names: Mapping[str, str | int]) -> str:
    """Return the name of the registered model, of which each seed's weights are a version."""
    parts = [str(names[name]) for name in ("variant", "head") if name in names]
    return "-".join(["pacavit", scale, stage, *parts])


def register(
    client: MlflowClient,
    run: Run,
    name: str,
    weights: Path,
    description: Mapping[str, Any],
    tags: Mapping[str, str],
    scratch: Path,
) -> None:
    """Log weights as a model of a run and register it, if MLflow has these weights of this run not yet.

    A kill at any point leaves what a later call goes on from.

    Args:
        client: of MLflow.
        run: that made the weights.
        name: of the registered model.
        weights: safetensors.
        description: as :mod:`pacavit.tracking.served` tells.
        tags: of the model and its version.
        scratch: folder for the model on its way, which is made and removed.

    Raises:
        MlflowException: MLflow cannot be reached, or does not know models of runs (before 3.0).
    """
    digest = sha256(weights)
    tags = {**tags, _WEIGHTS: digest}
    number = run.info.run_id
    registered = client.search_model_versions(f"name = '{name}' and run_id = '{number}'")
    if any(one.tags.get(_WEIGHTS) == digest for one in registered):
        return
    model = _find_or_create(client, run, name, description["task"], tags)
    if model.status != LoggedModelStatus.READY:
        try:
            _save(scratch, Model(run_id=number, model_id=model.model_id), weights, description)
            client.log_model_artifacts(model.model_id, str(scratch))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    if model.model_id not in [output.model_id for output in run.outputs.model_outputs]:
        client.log_outputs(number, [LoggedModelOutput(model.model_id, step=0)])
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # by the job of another seed
            raise
    client.create_model_version(
        name, f"models:/{model.model_id}", number, tags=tags, model_id=model.model_id, await_creation_for=0
    )


def _find_or_create(
    client: MlflowClient, run: Run, name: str, task: str, tags: Mapping[str, str]
) -> LoggedModel:
    experiment, number = run.info.experiment_id, run.info.run_id
    wanted = f"source_run_id = '{number}' AND tags.`{_WEIGHTS}` = '{tags[_WEIGHTS]}'"
    found = client.search_logged_models([experiment], wanted, max_results=1)
    if found:
        return found[0]
    # A scale may have a dot, which MLflow takes in the names of registered models alone.
    return client.create_logged_model(experiment, name.replace(".", "_"), number, dict(tags), None, task)


def _save(folder: Path, model: Model, weights: Path, description: Mapping[str, Any]) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # what a kill left
    example = np.random.default_rng(0).integers(0, 256, (1, 3, _EXAMPLE_SIDE, _EXAMPLE_SIDE))
    packages = _COMMON if description["task"] == "classification" else (*_COMMON, *_DENSE)
    mlflow.pyfunc.save_model(
        folder,
        mlflow_model=model,
        loader_module=served.__name__,
        data_path=str(weights),
        # The package is in no index, so that it goes along, with the user's modules that make the model.
        code_paths=[str(Path(pacavit.__file__).parent), *map(str, modules(description.get("imports", ())))],
        # Stated, since MLflow finds them out by loading the model in a process of its own.
        pip_requirements=_requirements(packages),
        signature=_signature(description),
        input_example=example.astype(np.float32),
        model_config=dict(description),
    )


def _signature(description: Mapping[str, Any]) -> ModelSignature:
    """Return inputs and outputs as the classes of :mod:`pacavit.tracking.served` state them."""
    images = Schema([TensorSpec(np.dtype(np.float32), (-1, 3, -1, -1))])
    if description["task"] == "classification":
        outputs = Schema([TensorSpec(np.dtype(np.float32), (-1, len(description["classes"])))])
    elif description["task"] == "segmentation":
        outputs = Schema([TensorSpec(np.dtype(np.int64), (-1, -1, -1))])
    else:
        numbers = ("score", "left", "top", "right", "bottom")
        columns = [ColSpec("long", "image"), ColSpec("string", "class")]
        outputs = Schema([*columns, *(ColSpec("double", name) for name in numbers)])
    return ModelSignature(images, outputs)


def _requirements(packages: tuple[str, ...]) -> list[str]:
    stated = []
    for package in packages:
        # opencv-python has other names elsewhere.
        with suppress(PackageNotFoundError):
            stated.append(f"{package}=={version(package)}")
    return stated
