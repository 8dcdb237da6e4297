"""The run of a whole reproduction, which is a scale in a project folder; MLflow shows those of its jobs below it."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID as PARENT

from pacavit.errors import PacavitError
from pacavit.files import json_object, write_json
from pacavit.tracking.queue import DATABASES, artifact_location, scheme, shown_uri

#: Tag by which a reproduction's run is found again; a run of another project folder has another value.
_TAG = "pacavit.reproduction"


def open_parent(client: MlflowClient, scale: str, start: int) -> Run:
    """Return the run of the reproduction; make experiment and run if MLflow has them not, or in its bin.

    Processes of one project folder wait for each other, so that the first jobs at once make one run.

    Args:
        client: of MLflow.
        scale: folder under ``params/``.
        start: of the first job, milliseconds since 1970.

    Raises:
        MlflowException: MLflow cannot be reached.
        PacavitError: the experiment was deleted.
    """
    with _lock(scale):
        return _found_or_made(client, scale, start)


def update_parent(client: MlflowClient, scale: str, start: int, end: int | None) -> Run:
    """Let the run of the reproduction be running as long as one of its jobs is; return it.

    That it has finished says that nothing runs, not that all went well: each job's run has its own end.

    Args:
        client, scale, start: as of :func:`open_parent`.
        end: of a job that has ended, milliseconds since 1970; None for one that runs.

    Raises:
        MlflowException: MLflow cannot be reached.
        PacavitError: the experiment was deleted.
    """
    # Under the lock, so that no job begins between the look for running ones and what follows from it.
    with _lock(scale):
        parent = _found_or_made(client, scale, start)
        number = parent.info.run_id
        if end is None:
            client.update_run(number, status="RUNNING")
        elif not client.search_runs(
            [parent.info.experiment_id],
            f"tags.`{PARENT}` = '{number}' and attributes.status = 'RUNNING'",
            max_results=1,
        ):
            client.set_terminated(number, "FINISHED", max(end, parent.info.end_time or 0))
        return parent


def _lock(scale: str) -> FileLock:
    return FileLock(Path("work") / f"pacavit-{scale}.lock")


def _found_or_made(client: MlflowClient, scale: str, start: int) -> Run:
    name = f"pacavit-{scale}"
    experiment = client.get_experiment_by_name(name)
    if experiment is not None and experiment.lifecycle_stage == LifecycleStage.DELETED:
        number = experiment.experiment_id
        raise PacavitError(
            f"experiment {name} was deleted in MLflow: `mlflow experiments restore -x {number}` brings it back, "
            f"`mlflow gc --experiment-ids {number} {_places()} removes it for good and lets a new one begin"
        )
    number = (
        experiment.experiment_id if experiment else client.create_experiment(name, artifact_location(name))
    )
    identity = _identity(scale)
    # The oldest, so that all agree where a file system without locks let two come about.
    oldest = ["attributes.start_time ASC"]
    found = client.search_runs([number], f"tags.`{_TAG}` = '{identity}'", max_results=1, order_by=oldest)
    # The tag comes with the run, so that a kill in between leaves none that is not found again.
    tags = {_TAG: identity, "scale": scale}
    return found[0] if found else client.create_run(number, start, tags, f"reproduction {scale}")


def _places() -> str:
    """Return the options by which ``mlflow gc`` finds the experiment, with the end of the quotation."""
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return "--tracking-uri sqlite:///mlflow.db`"
    if scheme() in DATABASES:
        return f"--backend-store-uri {shown_uri()} --tracking-uri {shown_uri()}`"
    return f"--backend-store-uri ITS_DATABASE --tracking-uri {shown_uri()}` where the server runs"


def _identity(scale: str) -> str:
    """Return what tells this folder's reproduction from others on the same server: random, and kept beside the lock.

    A project that was moved keeps it. A copy, whose original is where it was, gets its own.
    """
    path = Path("work") / f"pacavit-{scale}.json"
    here = str(Path.cwd())
    noted = json_object(path)
    root = noted.get("root", here)
    if "reproduction" not in noted or (
        root != here and _reproduction(Path(root) / path) == noted["reproduction"]
    ):
        noted = {"reproduction": uuid.uuid4().hex}
    if noted.get("root") != here:
        write_json(path, {**noted, "root": here})
    return noted["reproduction"]


def _reproduction(path: Path) -> str | None:
    with suppress(OSError):  # of another user
        return json_object(path).get("reproduction")
    return None
