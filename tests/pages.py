"""Edits of pages of parameters by key, so that no test rests on the values that a page holds today."""

from functools import reduce
from operator import getitem
from pathlib import Path

from ruamel.yaml import YAML


def change(page: Path, place: str, value: object) -> None:
    """Set a value of a page, or what a function makes of it, at a place such as ``recipe.lr``; comments stay."""
    yaml = YAML()
    yaml.width = 4096
    content = yaml.load(page)
    *sections, key = place.split(".")
    section = reduce(getitem, sections, content)
    assert key in section, f"{page} no longer holds {place}"
    section[key] = value(section[key]) if callable(value) else value
    yaml.dump(content, page)


def shorten(page: Path, **values: object) -> None:
    """Set values of a page's recipe."""
    for key, value in values.items():
        change(page, f"recipe.{key}", value)
