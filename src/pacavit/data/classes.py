"""Classes: the one place that says what the outputs of a network mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pacavit.data.manifest import read_manifest
from pacavit.errors import PacavitError
from pacavit.tasks import TASKS


@dataclass(frozen=True)
class Classes:
    """The classes of a model, in the order of its outputs.

    Attributes:
        names: as the data have them; two classes may have the same name.
        ids: what tells them apart: synsets of ImageNet, category ids of COCO in ascending order, values in the label
            maps of ADE20K.
    """

    names: Sequence[str]
    ids: Sequence[int] | Sequence[str]

    @classmethod
    def of(cls, folder: Path) -> Classes:
        """Return the classes of a prepared data set.

        Raises:
            PacavitError: the folder has no manifest.
        """
        manifest = read_manifest(folder)
        names = manifest["classes"]
        ids = manifest.get("ids")
        if ids is None:
            first = manifest.get("first_class", TASKS[manifest["dataset"]].first_class)
            ids = range(first, first + len(names))
        return cls(names, ids)

    @classmethod
    def numbered(cls, task: str, names: Sequence[str]) -> Classes:
        """Return classes of which only the names are known: their ids count from the task's first."""
        first = TASKS[task].first_class
        return cls(names, range(first, first + len(names)))

    @classmethod
    def of_categories(cls, categories: Iterable[Mapping[str, Any]]) -> Classes:
        """Return the classes of COCO's categories, whatever their order."""
        ordered = sorted(categories, key=lambda category: category["id"])
        return cls([category["name"] for category in ordered], [category["id"] for category in ordered])

    def __len__(self) -> int:
        return len(self.names)

    @property
    def labels(self) -> list[str]:
        """The names for people; those that several classes share have the id behind."""
        count = Counter(self.names)
        return [
            f"{name} ({number})" if count[name] > 1 else name
            for name, number in zip(self.names, self.ids, strict=True)
        ]

    @property
    def description(self) -> dict[str, list]:
        """Names and ids in plain values, as :mod:`pacavit.tracking.served` takes them."""
        return {"classes": self.labels, "ids": list(self.ids)}

    def table(self, **measures: Iterable[float | None]) -> dict[str, dict[str, str | float | None]]:
        """Return the values of measures of each class by its id, with the name beside them."""
        return {
            str(number): {"name": name, **dict(zip(measures, values, strict=True))}
            for number, name, *values in zip(self.ids, self.names, *measures.values(), strict=True)
        }


def read_names(file: Path) -> list[str]:
    """Return the class names of a text file, a name a line.

    Raises:
        PacavitError: the file cannot be read, or a name as of :func:`check_names`.
    """
    try:
        # Not `splitlines`, which takes rarer characters than line breaks for the end of a name.
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text in UTF-8"
        raise PacavitError(f"{file}: cannot be read ({reason}); expected a class name a line") from None
    names = [line for line in lines if line]
    check_names(names, str(file))
    return names


def check_names(names: Sequence[str], source: str) -> None:
    """Refuse names that nobody could read, or that no file in UTF-8 can hold.

    Raises:
        PacavitError: a name has no visible character, or holds a control character or half of a surrogate pair.
    """
    for number, name in enumerate(names, start=1):
        visible = any(char.isprintable() and not char.isspace() for char in name)
        if not visible or any(char < " " or "\ud800" <= char <= "\udfff" for char in name):
            raise PacavitError(
                f"{source}: the name of class {number} of {len(names)} is {name!a}; expected a name "
                "with visible characters and no control characters"
            )
