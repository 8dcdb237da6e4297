"""Which jobs are up to date, by what earlier ones left: a record of what was made from what.

A record says that some parameters, code and inputs gave some outputs, all by their content. It is named by a hash of
what went in, so that it is never out of date: a job is up to date if there is a record of what goes into it now, and
its outputs are what that says. Neither times of files nor what Snakemake or DVC remember matters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pacavit import params
from pacavit.files import json_object, write_json
from pacavit.pipeline import code, content, models
from pacavit.pipeline.sources import Sources
from pacavit.pipeline.table import STAGES, Names
from pacavit.pipeline.targets import aggregated, inputs, name, optional, outputs, ref

FOLDER = Path("work/records")
_MAPPINGS = ("params", "inputs", "outputs")


@dataclass(frozen=True)
class Made:
    """What goes into a job.

    Attributes:
        stage, scale, names: which job.
        params: values by ``page:dotted.key``.
        code: digest.
        inputs: hash of each file and folder that it reads, by path; of the user's own a fingerprint.
    """

    stage: str
    scale: str
    names: Names
    params: Mapping[str, Any]
    code: str
    inputs: Mapping[str, str]

    @cached_property
    def key(self) -> str:
        """A hash of all of it."""
        return hashlib.sha256(json.dumps(plain(self), sort_keys=True).encode()).hexdigest()[:24]

    @property
    def path(self) -> Path:
        """Where the record of it is."""
        return FOLDER / name(self.stage, self.names) / f"{self.scale}-{self.key}.json"


@dataclass(frozen=True)
class Status:
    """How a job stands.

    Attributes:
        state: ``fresh`` is up to date; ``absent`` was made, and an output is gone or another; ``stale`` is to run.
        reason: why it is not fresh.
        made: what goes into it; None if an input is not there yet.
        outputs: hash of what it writes, by path; empty if it is stale.
    """

    state: Literal["fresh", "absent", "stale"]
    reason: str = ""
    made: Made | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)


class Records:
    """The records of a scale, held against its parameters, the code and the files as they are now.

    Args:
        scale: folder below ``params/``.
        given: its parameters.
        adopt: returns the outputs of a job by path if another record, such as DVC's, says that what goes into it now
            gave what is there.
        forced: tells of a job whether it is to run whatever the records say.
        sources: the user's own files, if they were looked at already.

    Attributes:
        sources: the user's own files.
    """

    def __init__(
        self,
        scale: str,
        given: params.Params,
        adopt: Callable[[Made, Mapping[str, str | None]], dict[str, str] | None] = lambda made, found: None,
        forced: Callable[[str, Names], bool] = lambda stage, names: False,
        sources: Sources | None = None,
    ) -> None:
        self.scale = scale
        self.params = given
        self._adopt = adopt
        self._forced = forced
        self.sources = sources or Sources(scale, given)
        self._code = code.digests()
        self._status: dict[str, Status] = {}

    def status(self, stage: str, names: Names) -> Status:
        """Return how a job stands, by how those stand whose outputs it reads."""
        job = name(stage, names)
        if job not in self._status:
            self._status[job] = self._look(stage, names)
        return self._status[job]

    def _look(self, stage: str, names: Names) -> Status:
        found: dict[str, str] = {}
        for producer, its_names, path in self._read(stage, names):
            if producer is None:
                digest = content.digest(path)
            else:
                upstream = self.status(producer, its_names)
                if upstream.state == "stale":
                    return Status("stale", f"{path} is to be made anew")
                digest = upstream.outputs[str(path)]
            if digest is None:
                return Status("stale", f"{path} is missing")
            found[str(path)] = digest
        found |= self.sources.of(stage, names) | models.hashes(self.params, stage, names)
        values = params.select(self.params, models.parameters(self.params, stage, names), **names)
        made = Made(stage, self.scale, names, values, self._code[stage], found)
        written = outputs(stage, self.scale, names)
        there = {str(path): content.digest(path) for path in written.values()}
        if self._forced(stage, names):
            return Status("stale", "it is forced", made)
        recorded = load(made) or self._adopt(made, there)
        if recorded is None or recorded.keys() != there.keys():
            return Status("stale", _difference(made), made)
        for path, digest in recorded.items():
            if there.get(path) != digest:
                why = "is missing" if there.get(path) is None else "is not what this job wrote"
                return Status("absent", f"{path} {why}", made, recorded)
        return Status("fresh", "", made, recorded)

    def _read(self, stage: str, names: Names):
        """Yield what a job reads: the stage that makes it, or None, that job's wildcards, and the path."""
        spec = STAGES[stage]
        for key, path in inputs(stage, self.scale, names).items():
            source = ref(spec.inputs[key])
            wildcards = STAGES[source.stage].wildcards if source else ()
            yield source and source.stage, {wildcard: names[wildcard] for wildcard in wildcards}, path
        for text, files in aggregated(stage, self.scale, self.params.targets).items():
            for its_names, path in files:
                yield ref(text).stage, its_names, path
        for files in optional(stage, self.scale, self.params.targets).values():
            for its_names, path in files:
                yield None, its_names, path


def load(made: Made) -> dict[str, str] | None:
    """Return the outputs by path that a record says were made; None without a record, or with a torn one."""
    return _read(made.path).get("outputs")


def _read(path: Path) -> dict[str, Any]:
    """Return a record; an empty one if there is none, or what a crash has left of it."""
    record = json_object(path)
    return (
        record if all(isinstance(record.get(kind), dict) for kind in _MAPPINGS) and "code" in record else {}
    )


def save(made: Made, written: Mapping[str, str], **more: Any) -> None:
    """Write a record.

    Args:
        made: what went in.
        written: the outputs' hashes by path.
        more: further plain values, for people.
    """
    write_json(made.path, {**plain(made), "outputs": dict(written), **more})


def forget(stage: str, scale: str, names: Names) -> None:
    """Remove the records of a job."""
    for path in (FOLDER / name(stage, names)).glob(f"{scale}-*.json"):
        path.unlink()


def plain(made: Made) -> dict[str, Any]:
    """Return what went into a job as plain values."""
    values = {key: getattr(made, key) for key in Made.__dataclass_fields__}
    return {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}


def _difference(made: Made) -> str:
    """Tell what differs from the last time that a job ran."""
    earlier = sorted(made.path.parent.glob(f"{made.scale}-*.json"), key=lambda path: path.stat().st_mtime)
    if not earlier:
        return "it has not run yet"
    last = _read(earlier[-1])
    if not last:
        return "it has not run yet"
    reasons = []
    if last["code"] != made.code:
        reasons.append("its code has changed")
    for what in ("params", "inputs"):
        now, then = getattr(made, what), last[what]
        changed = sorted(key for key in now.keys() | then.keys() if now.get(key) != then.get(key))
        reasons += [f"{key} has changed" for key in changed]
    return "; ".join(reasons) or "it has not run yet"
