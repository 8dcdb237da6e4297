"""Settings of the machine are read strictly."""

import pytest

from pacavit.errors import PacavitError
from pacavit.runtime.environment import seconds

NAME = "PACAVIT_A_TEST"


def test_a_number_of_seconds_or_the_default(monkeypatch):
    monkeypatch.delenv(NAME, raising=False)
    assert seconds(NAME, 20) == 20
    monkeypatch.setenv(NAME, "2.5")
    assert seconds(NAME, 20) == 2.5
    monkeypatch.setenv(NAME, "0")
    assert seconds(NAME, 20, zero=True) == 0


@pytest.mark.parametrize("value", ["-1", "soon", "inf", "nan", ""])
def test_anything_else_is_told(monkeypatch, value):
    monkeypatch.setenv(NAME, value)
    with pytest.raises(PacavitError, match=f"{NAME}={value}: expected a number of seconds, 0 or more"):
        seconds(NAME, 20, zero=True)


def test_nothing_is_a_number_only_where_it_makes_sense(monkeypatch):
    monkeypatch.setenv(NAME, "0")
    with pytest.raises(PacavitError, match=f"{NAME}=0: expected a number of seconds, above 0"):
        seconds(NAME, 20)
