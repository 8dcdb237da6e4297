"""How often an update of each training makes the processor wait for the GPU, and where."""

import warnings
from collections import Counter
from pathlib import Path

import pytest
import torch
from gpu_trainings import TRAININGS, run

from pacavit.runtime.progress import Progress

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu_only")]

_PACKAGES = ("pacavit", "mmdet", "mmengine", "mmseg", "mmcv", "timm", "torch")
_MESSAGE = "called a synchronizing CUDA operation"


class Waits:
    """The places of an update's waits, update by update."""

    def __init__(self, caught: list[warnings.WarningMessage]) -> None:
        self._caught = caught
        self.updates: list[Counter[str]] = []

    def end_update(self) -> None:
        """Close the account of an update."""
        places = Counter(
            f"{_short(w.filename)}:{w.lineno}" for w in self._caught if _MESSAGE in str(w.message)
        )
        self.updates.append(places)
        self._caught.clear()


def _short(filename: str) -> str:
    """Return a file's name from its package on."""
    parts = Path(filename).parts
    package = next((i for i, part in enumerate(parts) if part in _PACKAGES), len(parts) - 3)
    return "/".join(parts[package:])


@pytest.fixture
def count_waits(monkeypatch):
    """A function that trains and returns the waits of the last update but one, which neither saves nor validates."""

    def count(create_job, name: str) -> Counter[str]:
        quiet = {"checkpoint_updates": 100, "log_updates": 100}
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught, monkeypatch.context() as patch:
                warnings.simplefilter("always")
                waits = Waits(caught)
                shown = Progress.update

                def update(self: Progress, **values: float) -> None:
                    waits.end_update()
                    shown(self, **values)

                patch.setattr(Progress, "update", update)
                run(create_job, name, "waits", **quiet)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return waits.updates[-2]

    return count


@pytest.mark.xfail(
    raises=AssertionError,
    strict=True,
    reason="each micro-batch reads its loss, and the guard looks at each update's",
)
@pytest.mark.parametrize("name", TRAININGS)
def test_the_loop_itself_does_not_wait(create_job, count_waits, record_property, name):
    """What mmdetection does within its model is counted too, but held against nobody."""
    waits = count_waits(create_job, name)
    own = Counter({place: n for place, n in waits.items() if place.startswith("pacavit/")})
    record_property("waits an update", sum(waits.values()))
    record_property("of these in pacavit", sum(own.values()))
    record_property("places", "; ".join(f"{place} {n}" for place, n in waits.most_common(12)))
    assert not own
