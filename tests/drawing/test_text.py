"""Text that has to fit."""

import pytest

from pacavit.drawing.text import shortened, text_width, wrapped

LONG = "cash machine, cash dispenser, automated teller machine, automatic teller, ATM"


@pytest.mark.parametrize("text", ["tench", LONG, "potter's wheel", "$1$ & _x_", "", "W" * 300])
@pytest.mark.parametrize("width", [0.8, 1.5, 4.0])
def test_a_line_is_no_wider_than_its_place_and_whole_where_it_fits(text, width):
    found = shortened(text, width, 8)
    assert text_width(found, 8) <= width
    assert found == text or (found.endswith("…") and text_width(text, 8) > width)


def test_text_is_broken_between_words_and_the_last_line_is_cut():
    found = wrapped(LONG, 1.5, 8, 2).split("\n")
    assert len(found) == 2
    assert found[0] == "cash machine, cash"
    assert found[1].endswith("…")
    assert all(text_width(line, 8) <= 1.5 for line in found)
    assert wrapped("tench", 1.5, 8, 2) == "tench"
    assert wrapped("W" * 300, 1.5, 8, 2).count("…") == 1
