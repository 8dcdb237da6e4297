"""Marks that several test modules share."""

from collections.abc import Iterable

import pytest


def tiny_first(names: Iterable[str]) -> list:
    """Return variants for ``parametrize``, of which all but the tiny ones of the convolutional kinds are slow."""
    quick = ("test_pacavit", "pacavit_tiny_p2cconv_100_0", "pacavit_convmixer_tiny_100")
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]
