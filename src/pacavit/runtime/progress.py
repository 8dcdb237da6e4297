"""A progress bar with images per second and the time that is left; silent without a terminal."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType

from tqdm import tqdm

from pacavit.runtime.distributed import is_main


class Progress:
    """Progress over training steps, counted in images.

    Args:
        label: what is trained.
        steps: how many in all.
        images_per_step: images of all processes together.
        start: steps done by an earlier attempt.
    """

    def __init__(self, label: str, steps: int, images_per_step: int, start: int = 0) -> None:
        self._images = images_per_step
        self._bar = tqdm(
            desc=label,
            total=steps * images_per_step,
            initial=start * images_per_step,
            unit="img",
            unit_scale=True,
            dynamic_ncols=True,
            disable=None if is_main() else True,
        )

    def update(self, **shown: float) -> None:
        """Count one step and show values such as the loss."""
        self._bar.set_postfix({name: f"{value:.4g}" for name, value in shown.items()}, refresh=False)
        self._bar.update(self._images)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()


def report(line: str) -> None:
    """Print a line for people and logs, past a running bar."""
    if is_main():
        # Whoever reads the log may be gone, ended by the same signal; the training still has a state to save.
        with suppress(BrokenPipeError):
            tqdm.write(line)
