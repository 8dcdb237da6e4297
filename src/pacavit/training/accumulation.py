"""A fixed global batch, whatever the number of processes: micro-batches whose gradients add up."""

from __future__ import annotations

from typing import Protocol

from pacavit.errors import PacavitError


class Batches(Protocol):
    """A recipe, as far as it speaks of batches."""

    @property
    def global_batch(self) -> int: ...

    @property
    def micro_batch(self) -> int: ...


def accumulation(page: str, recipe: Batches, processes: int) -> int:
    """Return how many micro-batches each process adds up for one update.

    Args:
        page: of the recipe, for the message.
        recipe: images of an update, and at once in a process.
        processes: that share each update.

    Raises:
        PacavitError: the global batch is not a multiple of what the processes hold at once.
    """
    whole, micro = recipe.global_batch, recipe.micro_batch
    if whole % (micro * processes):
        share = whole // processes
        fitting = [n for n in range(1, share + 1) if share % n == 0] if whole % processes == 0 else []
        cure = (
            f"set micro_batch to one of {', '.join(map(str, fitting))}"
            if fitting
            else "use a number of processes that divides it"
        )
        raise PacavitError(
            f"params: {page}.yaml: global_batch {whole} is no multiple of {processes} processes × "
            f"micro_batch {micro}; {cure}"
        )
    return whole // (micro * processes)
