"""Running one job: a stage's function, given what the stage declares and nothing else."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pacavit import params, paths
from pacavit.errors import PacavitError
from pacavit.job import Declared, Job, View
from pacavit.pipeline import cache, code, content, index, models, records, sources
from pacavit.pipeline.table import STAGES, Names
from pacavit.pipeline.targets import aggregated, command, inputs, name, optional, outputs, ref
from pacavit.runtime.distributed import is_main
from pacavit.runtime.progress import report
from pacavit.tracking import Run, start_run

#: The scale whose pages hold the published settings.
PAPER = "paper"

#: How long a job waits for its work folder.
_LOCK_SECONDS = 15


def restore(stage: str, scale: str, **names: str | int) -> bool:
    """Take what a job writes from DVC's cache, if an earlier job made it of the same and it is not there.

    Returns:
        Whether that was done. If it is all there, whoever asks for the job wants it made anew.

    Raises:
        PacavitError: a parameter is wrong, or an input is missing.
    """
    given = params.load(scale)
    made, missing = _made(stage, scale, names, given, sources.Sources(scale, given))
    if missing or not cache.restore(made):
        return False
    report(f"{name(stage, names)}: taken from DVC's cache")
    return True


def run(stage: str, scale: str, **names: str | int) -> None:
    """Run one job: check parameters and inputs, do the work, check the outputs, and write a record of it.

    Raises:
        PacavitError: a parameter is wrong, an input is missing, or another process runs the same job.
    """
    given = params.load(scale)
    own = sources.Sources(scale, given)
    made, missing = _made(stage, scale, names, given, own)
    if missing:
        report(
            f"{stage}: {len(missing)} results of other stages are not there yet and left out, such as {missing[0]}"
        )
    read, written = inputs(stage, scale, names), outputs(stage, scale, names)
    fingerprint = _fingerprint(made)
    work = paths.path(paths.WORK, stage=stage, fingerprint=fingerprint)
    module, function = STAGES[stage].function.split(":")
    with (
        locked(work),
        start_run(
            name(stage, names), scale, names, made.params, fingerprint, made.code, read, work
        ) as tracked,
    ):
        job = describe(stage, scale, names, given, fingerprint, work, tracked)
        getattr(importlib.import_module(module), function)(job)
        unwritten = [str(path) for path in written.values() if is_main() and not path.exists()]
        if unwritten:
            raise PacavitError(
                f"stage {stage} ended without writing {', '.join(unwritten)}; this is a defect"
            )
    if is_main() and stage == "report":
        index.write()
    if is_main() and STAGES[stage].source:
        made = replace(made, inputs={**made.inputs, **own.of(stage, names)})  # a download has brought them
        sources.write(scale, given, own, [(stage, names)])
    if is_main() and not missing:
        records.save(made, {str(path): content.digest(path) for path in written.values()})


def _made(
    stage: str, scale: str, names: Names, given: params.Params, own: sources.Sources
) -> tuple[records.Made, list[Path]]:
    """Return what goes into a job, and the aggregated files that are not there yet."""
    models.require(given, [(stage, names)])
    spec = STAGES[stage]
    values = params.select(given, models.parameters(given, stage, names), **names)
    _check_inputs(stage, scale, names)
    several, missing = _split(aggregated(stage, scale, given.targets))
    several |= optional(stage, scale, given.targets)
    hashes = _hashes(inputs(stage, scale, names), several)
    hashes |= own.of(stage, names) | models.hashes(given, stage, names)
    return records.Made(stage, scale, names, values, code.digest(spec), hashes), missing


def describe(
    stage: str, scale: str, names: Names, given: params.Params, fingerprint: str, work: Path, tracked: Run
) -> Job:
    """Return what a stage's function is given, and no more than the stage declares."""
    spec = STAGES[stage]
    keys = models.parameters(given, stage, names)
    several, _ = _split(aggregated(stage, scale, given.targets))
    several |= optional(stage, scale, given.targets)
    return Job(
        stage=stage,
        scale=scale,
        names=names,
        params=_view(stage, given, keys, names),
        paper=_view(stage, _paper(spec.params), _of_paper(spec.params), names),
        values=params.select(given, keys, **names),
        inputs=Declared(stage, "input", inputs(stage, scale, names)),
        outputs=Declared(stage, "output", outputs(stage, scale, names)),
        aggregated=Declared(stage, "aggregated output", several),
        fingerprint=fingerprint,
        work=work,
        run=tracked,
        command=command(stage, scale, **names),
        function=spec.function,
        model=given.targets.model(str(names["variant"])) if "variant" in names else None,
    )


def _view(stage: str, given: Any, keys: tuple[str, ...], names: Names) -> Any:
    own = [key.format(**names) for key in keys if "/" not in key]
    return View(stage, given, [tuple(key.rstrip(":").replace(":", ".").split(".")) for key in own])


def _of_paper(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(key.removeprefix(f"{PAPER}/") for key in keys if key.startswith(f"{PAPER}/"))


def _paper(keys: tuple[str, ...]) -> params.Params | None:
    return params.load(PAPER) if _of_paper(keys) else None


def _check_inputs(stage: str, scale: str, names: Names) -> None:
    for key, path in inputs(stage, scale, names).items():
        if not path.exists():
            source = ref(STAGES[stage].inputs[key])
            how = f"git checkout {path}" if source is None else command(source.stage, scale, **names)
            raise PacavitError(f"{path}: missing, and stage {stage} reads it; make it with `{how}`")


def _split(
    found: Mapping[str, list[tuple[Names, Path]]],
) -> tuple[dict[str, list[tuple[Names, Path]]], list[Path]]:
    """Return which of the aggregated files are there, and those that are not."""
    there = {text: [(names, path) for names, path in files if path.exists()] for text, files in found.items()}
    missing = [path for files in found.values() for _, path in files if not path.exists()]
    return there, missing


def _hashes(read: Mapping[str, Path], several: Mapping[str, list[tuple[Names, Path]]]) -> dict[str, str]:
    every = [*read.values(), *(path for files in several.values() for _, path in files)]
    return {str(path): content.digest(path) for path in every}


def _fingerprint(made: records.Made) -> str:
    """Return what tells two trainings apart: parameters, wildcards and the content of the inputs.

    Not the code: an edit of it while a training is under way is refused by name, instead of beginning anew.
    """
    identity = {key: value for key, value in records.plain(made).items() if key != "code"}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def locked(work: Path) -> Iterator[None]:
    """Hold the work folder for one process group: a killed Snakemake may have left its job running.

    A killed job's own loading processes hold it for some seconds more, so it is worth waiting a little.

    Raises:
        PacavitError: another process goes on holding it.
    """
    if not is_main():
        yield
        return
    work.mkdir(parents=True, exist_ok=True)
    lock = FileLock(work / "lock")
    try:
        lock.acquire(timeout=_LOCK_SECONDS)
    except Timeout:
        raise PacavitError(f"{work}: another process is running this job; wait for it or end it") from None
    try:
        yield
    finally:
        lock.release()
