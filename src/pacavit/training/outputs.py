"""What every training leaves: final weights and the learning curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save_file

from pacavit.files import atomic_file
from pacavit.job import Job


def write_outputs(job: Job, weights: Mapping[str, torch.Tensor], description: Mapping[str, Any]) -> None:
    """Write weights as safetensors, and what the run logged as CSV, a row a step; names lose their slashes.

    Args:
        job: with the outputs ``weights`` and ``curve``.
        weights: the model's state by key.
        description: of the model, as :mod:`pacavit.tracking.served` tells.

    Raises:
        PacavitError: the folder cannot be written, or the disk is full.
    """
    with atomic_file(job.outputs["weights"]) as temporary:
        save_file({key: value.contiguous() for key, value in weights.items()}, temporary)
    table = pd.DataFrame(job.run.history())
    table.columns = [name.replace("/", "_") for name in table.columns]
    with atomic_file(job.outputs["curve"]) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    job.run.model(job.outputs["weights"], description)
    job.run.artifact(job.outputs["curve"])
