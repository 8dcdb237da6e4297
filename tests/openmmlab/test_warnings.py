"""What the libraries warn of: that which nobody can act on is not seen, and all else is."""

import importlib
import warnings

import pytest
from mmseg.models.builder import build_loss

import pacavit.openmmlab


@pytest.fixture
def seen():
    """The warnings of a test, under the filters of a program that imports the package."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("default")
        importlib.reload(pacavit.openmmlab)
        found.clear()  # mmengine does not expect to be asked twice
        yield found


def test_a_loss_of_mmseg_is_built_without_a_word(seen):
    build_loss({"type": "CrossEntropyLoss"})
    assert [str(warning.message) for warning in seen] == []


@pytest.mark.parametrize(
    ("message", "module"),
    [("Default ``avg_non_ignore`` is False", "mine"), ("Loss is infinite", "mmseg.models.losses")],
)
def test_other_warnings_are_seen(seen, message, module):
    warnings.warn_explicit(message, UserWarning, "file", 1, module)
    assert [str(warning.message) for warning in seen] == [message]
