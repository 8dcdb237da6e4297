"""Batches of a training, loaded by other processes; what befalls those is told with the images' names."""

from __future__ import annotations

import atexit
import multiprocessing
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Any

from torch.utils.data import DataLoader

from pacavit.errors import PacavitError
from pacavit.params.ade20k import Ade20kRecipe
from pacavit.params.coco import CocoRecipe
from pacavit.params.pretrain import PretrainRecipe
from pacavit.runtime.distributed import rank, world_size
from pacavit.runtime.environment import seconds
from pacavit.runtime.interruption import follow_the_training
from pacavit.training.stream import PositionSampler, SampleStream

#: Seconds that a batch may take before its loading process counts as hanging.
PATIENCE = "PACAVIT_WORKER_TIMEOUT"


class Batches:
    """The micro-batches of this process from an update on, in order.

    As a context manager it ends the loading processes, and turns the death of one, which torch may report anywhere in
    the loop, into an error with names.

    Args:
        stream: samples by position.
        recipe: batch sizes and loading processes.
        start: updates done already, whose batches are not loaded.
        stop: updates in all.
        image_name: names the image of an index of the data set.
        options: further arguments of torch's loader.

    Raises:
        PacavitError: :data:`PATIENCE` is not a number of seconds.
    """

    def __init__(
        self,
        stream: SampleStream,
        recipe: PretrainRecipe | CocoRecipe | Ade20kRecipe,
        start: int,
        stop: int,
        image_name: Callable[[int], str],
        **options: Any,
    ) -> None:
        self._stream = stream
        self._image_name = image_name
        self._update = start
        self._parts = recipe.global_batch // (recipe.micro_batch * world_size())
        self._global_batch = recipe.global_batch
        self._taken = 0
        self.loader = DataLoader(
            stream,
            batch_size=recipe.micro_batch,
            sampler=PositionSampler(recipe.global_batch, start, stop, rank(), world_size()),
            num_workers=recipe.workers,
            persistent_workers=recipe.workers > 0,
            worker_init_fn=follow_the_training,
            timeout=seconds(PATIENCE, 600) if recipe.workers else 0,
            **options,
        )

    def names(self, update: int) -> list[str]:
        """Return the images of an update, of all processes together."""
        return [self._image_name(index) for index in self._stream.indices(update, self._global_batch)]

    def __next__(self) -> Any:
        """Return the next micro-batch."""
        batch = next(self._batches)
        self._taken += 1
        return batch

    def __enter__(self) -> Batches:
        self._others = set(multiprocessing.active_children())
        self._batches = iter(self.loader)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _kill(set(multiprocessing.active_children()) - self._others)
        text = str(error)
        if isinstance(error, RuntimeError) and text.startswith("DataLoader"):
            raise self._explained(text) from error
        if isinstance(error, PacavitError) and text.startswith("Caught "):
            # torch puts the traceback of a loading process into the message.
            raise PacavitError(text.rstrip().rpartition("PacavitError: ")[2]) from None

    def _explained(self, text: str) -> PacavitError:
        update = self._update + self._taken // self._parts
        images = ", ".join(self.names(update)[:4])
        fault = " ".join(text.split()).rstrip(".")
        return PacavitError(
            f"loading images: {fault}; it was at update {update} (images {images}, …) or a batch ahead. Less memory "
            f"than `workers` need kills one, a disk that does not answer stops one ({PATIENCE} seconds); the same "
            "command goes on from the last state"
        )


def _kill(children: set[multiprocessing.process.BaseProcess]) -> None:
    """End loading processes, which pass over SIGTERM and so would be waited for, for ever if one hangs."""
    # torch's handler would raise for each of them, wherever the program is by then.
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in children:
        child.kill()
        child.join()
    signal.signal(signal.SIGCHLD, handler)


# Those of a validation that was broken off are left, and Python ends children by SIGTERM.
atexit.register(lambda: _kill(set(multiprocessing.active_children())))
