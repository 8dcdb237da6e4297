"""The parts of the README that the pipeline writes."""

import pytest

from pacavit import readme


def test_it_is_renewed_between_its_marks_and_only_there(tmp_path):
    path = tmp_path / "README.md"
    marks = "<!-- written by `pacavit claims` -->", "<!-- end of what `pacavit claims` writes -->"
    path.write_text(f"# Title\n\n{marks[0]}\nold\n{marks[1]}\n\nEnd.\n")
    assert readme.update("pacavit claims", "new", path)
    assert path.read_text() == f"# Title\n\n{marks[0]}\nnew\n{marks[1]}\n\nEnd.\n"
    assert not readme.update("pacavit claims", "new", path)
    assert not readme.update("pacavit costs", "other", path)


@pytest.mark.parametrize("text", ["# No marks\n", "<!-- written by `pacavit claims` -->\nno end\n"])
def test_one_without_both_marks_is_left_alone(tmp_path, text):
    path = tmp_path / "README.md"
    path.write_text(text)
    assert not readme.update("pacavit claims", "new", path)
    assert path.read_text() == text
    assert not readme.update("pacavit claims", "new", tmp_path / "none.md")
