"""Metrics files: one JSON a job, with what the numbers were measured on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pacavit.data.manifest import read_manifest
from pacavit.files import content_hash, write_json
from pacavit.job import Job
from pacavit.tracking import git_commit


def write_metrics(job: Job, values: Mapping[str, Any]) -> None:
    """Write the metrics of an evaluation and log its numbers.

    Beside the values stand variant, seed, commit, the hashes of the data and the weights, and whether
    the data have the official numbers of images and classes, and how many validation images are training images too.
    """
    write_json(job.outputs["metrics"], {**values, "origin": origin(job)})
    job.run.log(dict(_leaves(values)), step=0)
    job.run.artifact(job.outputs["metrics"])


def origin(job: Job) -> dict[str, Any]:
    """Return what a job's numbers were measured on and with; it has the inputs ``data`` and ``weights``."""
    manifest = read_manifest(job.inputs["data"])
    return {
        **job.names,
        "scale": job.scale,
        "command": job.command,
        "function": job.function,
        "parameters": dict(job.values),
        "fingerprint": job.fingerprint,
        "commit": git_commit(),
        "data": content_hash(job.inputs["data"]),
        "official": manifest["official"],
        "shared": manifest.get("shared"),
        "weights": content_hash(job.inputs["weights"]),
    }


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)
