"""The stages ``released_*``: a file of the authors' weights, checked and put into the project's own form."""

from __future__ import annotations

from pathlib import Path

from pacavit.checkpoints.export import save_as_safetensors
from pacavit.checkpoints.inspection import inspect
from pacavit.errors import PacavitError
from pacavit.job import Job
from pacavit.published import checkpoints
from pacavit.runtime.progress import report


def take(job: Job) -> None:
    """Find the file that the authors name for a task, variant and head, and write it as safetensors.

    Raises:
        PacavitError: no such weights were released, the file is not in the user's folder, cannot be read, is of
            another model, or holds numbers that are not finite.
    """
    task = job.stage.removeprefix("released_")
    variant, head = str(job.names["variant"]), str(job.names.get("head", ""))
    known = checkpoints(job.inputs["published"].resolve())
    if (task, variant, head) not in known:
        published = ", ".join(" ".join(key[1:]).strip() for key in known if key[0] == task)
        raise PacavitError(
            f"{f'{variant} {head}'.strip()}: no weights of it were released for {task}; there are {published or 'none'}"
        )
    name = known[task, variant, head]
    path = Path(job.params.data.released.directory) / name
    if not path.exists():
        raise PacavitError(
            f"{path}: missing; fetch the authors' {name} into that folder, or set another one as released.directory in "
            f"params/{job.scale}/data.yaml"
        )
    found = inspect(path, job.model, task, head or None)
    found.require()
    report(save_as_safetensors(found, job.outputs["weights"]))
