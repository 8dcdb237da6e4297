"""Guard rails of a training: a loss that is lost, and processes that no longer agree."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable

import torch

from pacavit.errors import PacavitError
from pacavit.files import write_json
from pacavit.job import Job
from pacavit.runtime.distributed import every, is_main, mean_over_ranks, world_size

#: The names of the images of an update.
BATCH = "lost-batch.json"

# Healthy losses fall: ten times the median of the last hundred, fifty updates long, is none.
_WINDOW, _GROWTH, _PATIENCE = 100, 10.0, 50


class LossGuard:
    """Stops a training whose loss is not finite or has exploded, and writes down the images of the batch.

    Args:
        job: names the stage, and its work folder takes :data:`BATCH`.
        device: of the training.
        names: gives the images of an update, of all processes.
    """

    def __init__(self, job: Job, device: torch.device, names: Callable[[int], list[str]]) -> None:
        self._job = job
        self._device = device
        self._names = names
        self._usual: deque[float] = deque(maxlen=_WINDOW)
        self._high = 0

    def check(self, step: int, loss: float) -> float:
        """Look at the loss of update ``step``, and return its mean over all processes, which call this together.

        Raises:
            PacavitError: the loss is not finite, or has been far above what was usual for many updates.
        """
        mean = mean_over_ranks(loss, self._device)
        if not math.isfinite(mean):
            self._stop(step, mean, f"is {mean}")
        if len(self._usual) == _WINDOW and mean > _GROWTH * statistics.median(self._usual):
            self._high += 1
            if self._high == _PATIENCE:
                self._stop(
                    step, mean, f"is {mean:.4g}, the {_PATIENCE}th in a row above {_GROWTH:g} times the usual"
                )
        else:
            self._high = 0
            self._usual.append(mean)
        return mean

    def _stop(self, step: int, loss: float, fault: str) -> None:
        names = self._names(step)
        path = self._job.work / BATCH
        if is_main():
            write_json(path, {"update": step, "loss": str(loss), "images": names})
        raise PacavitError(
            f"{self._job.stage}: the loss of update {step} {fault}; its images, first {', '.join(names[:3])}, are "
            f"listed in {path}; look at them, or lower lr or clip_grad"
        )


def check_ranks_agree(parameters: Iterable[torch.Tensor], step: int, device: torch.device) -> None:
    """See to it that all processes hold the same parameters, bit by bit; they call this together.

    Raises:
        PacavitError: some do not; names them.
    """
    if world_size() == 1:
        return
    sums = every(checksum(parameters), device)
    others = [str(rank) for rank, value in enumerate(sums) if value != sums[0]]
    if others:
        raise PacavitError(
            f"after update {step} the parameters of rank {', '.join(others)} differ from those of rank 0, so no state "
            "is written; a faulty device or driver is the usual cause. The same command goes on from the last state"
        )


def check_same_step(step: int, device: torch.device) -> None:
    """See to it that all processes go on from the same update; they call this together.

    Raises:
        PacavitError: some do not; names the updates.
    """
    steps = every(step, device)
    if len(set(steps)) > 1:
        found = ", ".join(f"rank {rank} from {step}" for rank, step in enumerate(steps))
        raise PacavitError(
            f"the processes would go on from different updates ({found}): a node sees an old list of the work folder, "
            "or cannot read the newest state; start again"
        )


def checksum(parameters: Iterable[torch.Tensor]) -> int:
    """Return a sum over the bits of all parameters, in their order."""
    total = 0
    for number, parameter in enumerate(parameters, start=1):
        whole = torch.int32 if parameter.element_size() % 4 == 0 else torch.int16
        bits = parameter.detach().contiguous().view(whole)
        total += number * int(bits.sum(dtype=torch.int64))
    return total % (1 << 62)
