"""What a stage's function is given: the parameters, inputs and outputs that the stage declares, and no others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from pacavit.params import Params
    from pacavit.params.targets import Model
    from pacavit.tracking import Run

T = TypeVar("T")


class UndeclaredError(Exception):
    """A stage's function asked for what the table of stages does not declare for it."""

    def __init__(self, stage: str, kind: str, name: str, declared: Sequence[str]) -> None:
        super().__init__(
            f"stage {stage} declares no {kind} {name!r}, only {', '.join(declared) or 'none'}: "
            "add it to the stage's entry in pacavit/pipeline/table.py"
        )


class Declared(Mapping[str, T], Generic[T]):
    """A mapping that names the stage and what it declares where a key is missing."""

    def __init__(self, stage: str, kind: str, values: Mapping[str, T]) -> None:
        self._stage, self._kind, self._values = stage, kind, dict(values)

    def __getitem__(self, key: str) -> T:
        if key not in self._values:
            raise UndeclaredError(self._stage, self._kind, key, list(self._values))
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class View:
    """Parameters of which a stage sees those that it declares, by attribute or key.

    Args:
        stage: whose they are.
        value: a page or a part of one.
        keys: the declared keys below it, as parts.
        place: of the value, for messages.
    """

    def __init__(self, stage: str, value: Any, keys: Sequence[tuple[str, ...]], place: str = "") -> None:
        self._stage, self._value, self._keys, self._place = stage, value, keys, place

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._child(name, lambda: getattr(self._value, name))

    def __getitem__(self, key: str) -> Any:
        return self._child(key, lambda: self._value[key])

    def _child(self, name: str, get: Any) -> Any:
        place = f"{self._place}.{name}" if self._place else name
        below = [key[1:] for key in self._keys if key[0] == name]
        if not below:
            declared = [".".join([self._place, *key]).lstrip(".") for key in self._keys]
            raise UndeclaredError(self._stage, "parameter", place, declared)
        return get() if () in below else View(self._stage, get(), below, place)


@dataclass(frozen=True)
class Job:
    """One stage with its wildcards filled in.

    Attributes:
        stage: name of the stage.
        scale: folder below ``params/``.
        names: wildcards and their values.
        params: the declared parameters, as the pages hold them.
        paper: likewise those of the scale ``paper``, which hold the published settings.
        values: the same as plain values, by ``page:dotted.key``.
        inputs, outputs: paths by the names that the table gives them.
        aggregated: by ``stage.output``, that output of every target, with the wildcards of its job.
        fingerprint: hash of parameters, wildcards and inputs.
        work: folder for what an interrupted job goes on from.
        run: takes what is measured.
        command: the command line.
        function: ``module:function`` that is given this.
        model: its variant as timm creates it; None without a variant.
    """

    stage: str
    scale: str
    names: Mapping[str, str | int]
    params: Params
    paper: Params
    values: Mapping[str, Any]
    inputs: Mapping[str, Path]
    outputs: Mapping[str, Path]
    aggregated: Mapping[str, Sequence[tuple[Mapping[str, str | int], Path]]]
    fingerprint: str
    work: Path
    run: Run
    command: str
    function: str
    model: Model | None = None

    @property
    def title(self) -> str:
        """What people call it: ``ade20k test_pacavit paca seed 0``."""
        return title(self.stage, self.names)


def title(stage: str, names: Mapping[str, str | int]) -> str:
    """Return what people call a job: ``ade20k test_pacavit paca seed 0``."""
    values = [f"seed {value}" if name == "seed" else str(value) for name, value in names.items()]
    return " ".join([stage.replace("_", " "), *values])
