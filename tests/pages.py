"""Edits of pages of parameters by key, so that no test rests on the values that a page holds today."""

from functools import reduce
from operator import getitem
from pathlib import Path

from ruamel.yaml import YAML

_BATCH = {"global_batch": 4, "micro_batch": 2, "warmup_updates": 2, "log_updates": 2, "checkpoint_updates": 2}
#: Recipes of a few updates, by page.
SHORT = {
    "pretrain": {
        "image_size": 32,
        "epochs": 2,
        "warmup_epochs": 1,
        "validate_epochs": 1,
        "global_batch": 8,
        "micro_batch": 4,
        "checkpoint_updates": 2,
    },
    "coco": {**_BATCH, "epochs": 1, "drop_epochs": [], "validate_epochs": 1},
    "ade20k": {**_BATCH, "updates": 5, "validate_updates": 5},
}


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
