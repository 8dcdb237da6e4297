"""Progress of a training: a bar in a terminal, lines elsewhere, with images per second and the time that is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from tqdm import tqdm

from pacavit.runtime.batch_log import progress_line
from pacavit.runtime.distributed import is_main


class Progress:
    """Progress over training steps.

    Without a terminal the main process prints a line every ``log_steps`` and after the last step.

    Args:
        label: what is trained.
        steps: how many in all.
        images_per_step: images of all processes together.
        start: steps done by an earlier attempt.
        log_steps: steps between two lines.
        clock: gives the time in seconds.
    """

    def __init__(
        self,
        label: str,
        steps: int,
        images_per_step: int,
        start: int = 0,
        log_steps: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label, self._steps, self._images, self._log_steps = label, steps, images_per_step, log_steps
        self._start = self._step = start
        self._clock = clock
        self._begun = clock()
        self._loss, self._summed, self._training = 0.0, 0, 0.0  # since the last line
        self._since = self._begun
        self._bar = tqdm(
            desc=label,
            total=steps * images_per_step,
            initial=start * images_per_step,
            unit="img",
            unit_scale=True,
            dynamic_ncols=True,
            disable=None if is_main() else True,
        )

    def update(self, loss: float, **shown: float) -> None:
        """Count one step and show its values; a line has the mean loss since the last one."""
        self._step += 1
        if not self._bar.disable:
            values = {"loss": loss, **shown}
            self._bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()}, refresh=False)
            self._bar.update(self._images)
        elif is_main():
            self._count(loss, shown)

    def resume(self) -> None:
        """Leave the time since the last step out of the images per second, as that of a validation."""
        self._since = self._clock()

    def _count(self, loss: float, shown: dict[str, float]) -> None:
        now = self._clock()
        self._training += now - self._since
        self._since = now
        self._loss += loss
        self._summed += 1
        if self._step % self._log_steps and self._step < self._steps:
            return
        left = (now - self._begun) * (self._steps - self._step) / (self._step - self._start)
        rate = self._summed * self._images / max(self._training, 1e-9)
        values = {"loss": self._loss / self._summed, **shown}
        report(progress_line(self._label, self._step, self._steps, values, rate, left))
        self._loss, self._summed, self._training = 0.0, 0, 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()


def report(line: str) -> None:
    """Print a line for people and logs, past a running bar, and at once."""
    if is_main():
        # Whoever reads the log may be gone, ended by the same signal; the training still has a state to save.
        with suppress(BrokenPipeError):
            tqdm.write(line)
            sys.stdout.flush()
