"""Ending a training in good order: after the update at hand, with its state saved, and with an exit code that tells.

SIGTERM and SIGUSR1 (a scheduler's notice), Ctrl-C and the end of the allowed time ask for it. All processes of a
training stop after the same update, whichever of them was asked.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from types import FrameType, TracebackType

import torch

from pacavit.errors import INTERRUPT_EXIT, REQUEUE_EXIT, PacavitError, TrainingInterruptedError
from pacavit.runtime import slurm
from pacavit.runtime.distributed import end_with_the_parent, highest, is_main
from pacavit.runtime.environment import seconds

#: Seconds that a training may take from now on before it saves its state and asks to be started again.
BUDGET = "PACAVIT_TIME_BUDGET"
# Before the end of a Slurm job, at most: enough for an update, a validation and a state.
_MARGIN_SECONDS, _MARGIN_SHARE = 300.0, 0.1

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Interruption:
    """Notes signals and the time while a training runs; as a context manager it has the handlers in place.

    Before that, while nothing is there to save, signals end the process as they always do.

    A second Ctrl-C ends the process at once; other signals may come twice, from a scheduler and from the launcher.

    Raises:
        PacavitError: :data:`BUDGET` is not a number of seconds.
    """

    def __init__(self) -> None:
        self._deadline = _deadline()
        self._signal = 0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interruption:
        self._previous = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def reason(self, device: torch.device) -> int:
        """Return the signal that ends the training, SIGALRM for the end of its time, and 0 for none.

        All processes call this together and get the same answer.
        """
        own = self._signal or (signal.SIGALRM if time.time() >= self._deadline else 0)
        return int(highest(own, device))

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self._signal = number


def interrupted(stage: str, step: int, reason: int) -> TrainingInterruptedError:
    """Return the error that ends a training whose state after ``step`` updates is saved."""
    what = "the end of its time" if reason == signal.SIGALRM else signal.Signals(reason).name
    code = INTERRUPT_EXIT if reason == signal.SIGINT else REQUEUE_EXIT
    return TrainingInterruptedError(
        f"{stage}: ended by {what} after update {step}, whose state is saved; the same command goes on from there",
        code,
    )


def follow_the_training(worker: int) -> None:
    """Let a loading process end with the training, and not before: it passes over what asks the training to end.

    Torch's own watch would let it end too, but not before its last batch is handed over, which nobody takes.
    """
    end_with_the_parent(multiprocessing.parent_process().pid)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _deadline() -> float:
    """Return when to stop, in seconds since 1970: by the budget or before the Slurm job's end, whichever is first."""
    now = time.time()
    deadline = now + seconds(BUDGET, float("inf"), zero=True)
    try:
        allowed = slurm.time_left() if is_main() else None
    except PacavitError as error:
        print(f"the job's time limit is not known, SIGTERM alone will tell of it: {error}", file=sys.stderr)
        allowed = None
    if allowed is None:
        return deadline
    left, limit = allowed
    return min(deadline, now + left - min(_MARGIN_SECONDS, _MARGIN_SHARE * limit))
