"""Trainings that stop in the middle, as a kill would stop them."""

from contextlib import contextmanager

import pytest
import torch


class Killed(BaseException):
    pass


@contextmanager
def killed_after(updates: int):
    """Let what runs inside stop, by :class:`Killed`, before its next step of the optimiser after so many."""
    step, done = torch.optim.AdamW.step, []

    def counted(self, *args, **kwargs):
        if len(done) == updates:
            raise Killed
        done.append(None)
        return step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(torch.optim.AdamW, "step", counted)
        yield
