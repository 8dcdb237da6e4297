"""What DVC versions: ``dvc.yaml`` of a scale, made from the table of stages, and ``dvc.lock`` kept in step with it.

The scale ``mini`` has the files of the project's root; another one has its own below ``pipelines/<scale>/``. Variants
that run only when they are asked for have theirs in ``pipelines/<scale>/optional/``, which `dvc repro` leaves out.
"""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pacavit import params, paths
from pacavit.data.protection import require_all_apart
from pacavit.errors import PacavitError
from pacavit.files import atomic_file, write_json
from pacavit.pipeline import cache, code, content, models, sources
from pacavit.pipeline.records import Made, Records, save
from pacavit.pipeline.table import STAGES, Names, Output, Stage
from pacavit.pipeline.targets import command, inputs, name, optional_jobs, outputs, pattern, product, targets

#: Digests of the stages' code, by which DVC sees an edit of it; a stage of DVC's own writes it.
CODE = "code.json"
CODE_STAGE = "code"
_SOURCE = "src/pacavit"
#: The lock that a running DVC holds, what another one says of it, and how long to wait for it.
_LOCK = Path(".dvc/tmp/lock")
_BUSY = ("Unable to acquire lock", "it is being blocked by")
_BUSY_SECONDS = 60.0

#: The stage that looks at the user's own files each time.
SOURCES_STAGE = "sources"

_HEAD = "# Made by `pacavit dvc --scale {scale}` from src/pacavit/pipeline/table.py: edit that instead.\n"


def yaml_path(scale: str) -> Path:
    """Return where the ``dvc.yaml`` of a scale is."""
    return Path("dvc.yaml") if scale == params.DEFAULT_SCALE else Path("pipelines", scale, "dvc.yaml")


def optional_path(scale: str) -> Path:
    """Return where the ``dvc.yaml`` of the variants that run only when they are asked for is."""
    return Path("pipelines", scale, "optional", "dvc.yaml")


def _files(scale: str) -> tuple[Path, Path]:
    return yaml_path(scale), optional_path(scale)


def _is_alone(given: params.Params, names: Names) -> bool:
    """Return whether a job is a stage of DVC's by itself, since it depends on how its variant is created."""
    if "variant" not in names:
        return False
    model = given.targets.model(str(names["variant"]))
    return (
        not model.is_paca or model.variant in given.targets.models or model.variant in given.targets.optional
    )


def address(given: params.Params, scale: str, stage: str, names: Names) -> tuple[Path, str]:
    """Return the ``dvc.yaml`` that has a job, and the job's name in it."""
    file = optional_path(scale) if names.get("variant") in given.targets.optional else yaml_path(scale)
    job = name(stage, names)
    return file, job.replace("@", "-") if _is_alone(given, names) else job


def _optional_text(scale: str, given: params.Params, every: bool) -> str | None:
    """Return the ``dvc.yaml`` of the variants that run only when they are asked for, None if it has no stages.

    Without ``every``, of those that have run, here or elsewhere: `dvc status` and `dvc pull` look at all there are.
    """
    file = optional_path(scale)
    inside = {"wdir": Path(*[".."] * len(file.parent.parts)).as_posix()}
    jobs = [(*job, address(given, scale, *job)[1]) for job in optional_jobs(given.targets)]
    locked = {} if every else _read_lock(file)
    begun = {
        names["variant"]
        for stage, names, job in jobs
        if every or job in locked or any(path.exists() for path in outputs(stage, scale, names).values())
    }
    stages = {
        job: inside | _entry(STAGES[stage], scale, given, names)
        for stage, names, job in jobs
        if names["variant"] in begun
    }
    return _dumped({"stages": stages}, scale) if stages else None


def yaml_text(scale: str, given: params.Params) -> str:
    """Return the ``dvc.yaml`` of a scale.

    A stage whose wildcards go through all their combinations follows an edit of ``targets.yaml`` by itself, as a
    matrix; the jobs of one that does not are listed. So are those of a variant whose creation ``targets.yaml`` states.
    """
    root = yaml_path(scale).parent
    above = Path(*[".."] * len(root.parts))
    stages: dict[str, Any] = {}
    if root == Path("."):
        stages[CODE_STAGE] = {"cmd": "pacavit code", "deps": [_SOURCE], "outs": [CODE]}
    inside = {} if root == Path(".") else {"wdir": above.as_posix()}
    if any(_reads_sources(spec, given) for spec in STAGES.values()):
        out = {str(sources.file(scale)): {"cache": False, "persist": True}}
        look = f"pacavit sources --scale {scale}"
        stages[SOURCES_STAGE] = inside | {"cmd": look, "outs": [out], "always_changed": True}
    for stage, spec in STAGES.items():
        if spec.released:
            continue
        jobs = targets(stage, given.targets)
        wanted = [names for names in jobs if not _is_alone(given, names)]
        entry = inside | _entry(spec, scale, given)
        if not spec.wildcards:
            stages[stage] = entry
        elif wanted and wanted == list(product(spec, given.targets)):
            stages[stage] = {"matrix": {w: f"${{{w}s}}" for w in spec.wildcards}, **entry}
        elif wanted:
            each = {"-".join(str(names[w]) for w in spec.wildcards): dict(names) for names in wanted}
            stages[stage] = {"foreach": each, "do": entry}
        for names in jobs:
            if _is_alone(given, names):
                stages[address(given, scale, stage, names)[1]] = inside | _entry(spec, scale, given, names)
    page = above / paths.path(paths.PARAMS, scale=scale, page="targets")
    return _dumped({"vars": [page.as_posix()], "stages": stages}, scale)


def _dumped(content: dict[str, Any], scale: str) -> str:
    yaml = YAML(typ="safe", pure=True)
    yaml.width, yaml.default_flow_style, yaml.sort_base_mapping_type_on_output = 4096, False, False
    yaml.representer.ignore_aliases = lambda data: True
    text = io.StringIO()
    yaml.dump(content, text)
    return _HEAD.format(scale=scale) + text.getvalue()


def write_yaml(scale: str, given: params.Params, every: bool = False) -> list[Path]:
    """Write the ``dvc.yaml`` of a scale, and that of its optional variants; return what that changed.

    Args:
        scale: folder below ``params/``.
        given: its parameters.
        every: list optional variants that have never run, too.

    Raises:
        PacavitError: the user's own data stand where the pipeline writes, as of :func:`require_all_apart`.
    """
    require_all_apart(scale, given.data)
    texts = zip(_files(scale), (yaml_text(scale, given), _optional_text(scale, given, every)), strict=True)
    changed = [(p, text) for p, text in texts if text != (p.read_text() if p.exists() else None)]
    for path, text in changed:
        if text is None:
            path.unlink()
            continue
        with atomic_file(path) as temporary:
            temporary.write_text(text)
    return [path for path, _ in changed]


def write_code() -> None:
    """Write the digests of the stages' code for DVC, if they changed."""
    digests = code.digests()
    try:
        unchanged = json.loads(Path(CODE).read_text()) == digests
    except (FileNotFoundError, ValueError):
        unchanged = False
    if not unchanged:
        write_json(Path(CODE), digests)


def why_not() -> str | None:
    """Return why DVC does not version this folder, or None if it does."""
    if not Path(".dvc").is_dir():
        return "this folder is no repository of DVC: `dvc init` makes it one"
    if cache.option("core", "no_scm", "false").lower() == "true":
        return None
    here = Path.cwd()
    for root in (here, *here.parents):
        if (root / ".git").exists():
            outside = next((path for path in _folders_of_outputs() if not _is_inside(path, root)), None)
            return outside and (
                f"{outside}/ is a link out of the Git repository, where DVC refuses outputs: `dvc config --local "
                "core.no_scm true` lets it go by itself"
            )
    return "this folder is no Git repository: `git init` makes it one, `dvc config core.no_scm true` does without"


def _reads_sources(spec: Stage, given: params.Params) -> bool:
    return not spec.released and sources.is_read(spec.name, given)


def _folders_of_outputs() -> list[Path]:
    """Return the folders that hold what DVC caches, and those in them."""
    cached = [
        o.path for spec in STAGES.values() for o in spec.outputs.values() if o.kind in ("cached", "folder")
    ]
    tops = [Path(top) for top in dict.fromkeys(path.split("/")[0] for path in cached)]
    return [folder for top in tops for folder in (top, *sorted(top.glob("*/")))]


def _is_inside(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())


def _entry(spec: Stage, scale: str, given: params.Params, names: Names | None = None) -> dict[str, Any]:
    """Return a stage as DVC takes it, with the wildcards as items, or one of its jobs."""

    def filled(text: str) -> str:
        for wildcard in spec.wildcards:
            value = f"${{item.{wildcard}}}" if names is None else str(names[wildcard])
            text = text.replace(f"{{{wildcard}}}", value)
        return text.replace("{scale}", scale)

    read = [filled(pattern(text)) for text in spec.inputs.values()]
    read += _folders(spec, scale)
    read += [str(path) for path in models.sources(given, spec.name, names or {})]
    by_file: dict[str, list[str]] = {}
    for key in models.parameters(given, spec.name, names or {}):
        file, dotted = _param(key, scale)
        by_file.setdefault(file, []).extend([filled(dotted)] if dotted else [])
    entry: dict[str, Any] = {"cmd": filled(command(spec.name))}
    if read:
        entry["deps"] = list(dict.fromkeys(read))
    if _reads_sources(spec, given):
        by_file[str(sources.file(scale))] = [str(spec.source)]
    entry["params"] = [{file: keys or None} for file, keys in (*by_file.items(), (CODE, [spec.name]))]
    for output in spec.outputs.values():
        kind, value = _output(output, filled(output.path), persist=spec.source is not None)
        entry.setdefault(kind, []).append(value)
    return entry


def _output(output: Output, path: str, persist: bool) -> tuple[str, Any]:
    if persist or output.kind == "folder":
        # DVC would remove it before the stage runs, which itself refuses to replace the user's own files.
        return "outs", {path: {"persist": True}}
    if output.kind == "curve":
        return "plots", {path: {"cache": False, "x": "step", "y": "train_loss"}}
    if output.kind in ("metrics", "text"):
        return {"metrics": "metrics", "text": "outs"}[output.kind], {path: {"cache": False}}
    return "outs", path


def _folders(spec: Stage, scale: str) -> list[str]:
    """Return the folders that hold what a stage aggregates: DVC cannot list files over a matrix."""
    found = (paths.fill(pattern(text), scale=scale) for text in spec.aggregates)
    return list(dict.fromkeys("/".join(path.split("/")[:3]) for path in found))


def _param(key: str, scale: str) -> tuple[str, str]:
    page, dotted = key.split(":")
    other, _, page = page.rpartition("/")
    return str(paths.path(paths.PARAMS, scale=other or scale, page=page)), dotted


class Lock:
    """``dvc.lock`` of a scale, held against what jobs have made.

    Args:
        scale: folder below ``params/``.
        given: its parameters.
    """

    def __init__(self, scale: str, given: params.Params) -> None:
        self.scale = scale
        self._given = given
        self._pages: dict[str, Any] = {}

    @cached_property
    def _locks(self) -> dict[Path, dict[str, Any]]:
        return {file: _read_lock(file) for file in _files(self.scale)}

    @property
    def _stages(self) -> dict[str, Any]:
        return self._locks[yaml_path(self.scale)]

    def _entry_of(self, made: Made) -> Mapping[str, Any] | None:
        file, job = address(self._given, self.scale, made.stage, made.names)
        return self._locks[file].get(job)

    def outputs(self, made: Made, there: Mapping[str, str | None]) -> dict[str, str] | None:
        """Return a job's outputs by path, and write a record, if DVC says that they were made from the same."""
        entry = self._entry_of(made)
        if entry is None or entry != self._expected(made, there, entry):
            return None
        save(made, {path: str(digest) for path, digest in there.items()}, source="dvc.lock")
        return {path: str(digest) for path, digest in there.items()}

    def lacks(self, made: Made, written: Mapping[str, str]) -> bool:
        """Return whether DVC does not know yet that a job made this."""
        entry = self._entry_of(made) or {}
        return entry != self._expected(made, written, entry)

    def lacks_code(self) -> bool:
        """Return whether DVC does not know the code as it is, or has lost what the stage ``code`` wrote."""
        entry = self._stages.get(CODE_STAGE, {})
        expected = {
            "deps": {_SOURCE: content.digest(Path(_SOURCE))},
            "outs": {CODE: content.digest(Path(CODE))},
        }
        if self.scale != params.DEFAULT_SCALE:
            return False
        differs = any(_hashes(entry, kind) != hashes for kind, hashes in expected.items())
        return differs or not cache.is_cached(expected["outs"][CODE])

    def lacks_sources(self) -> bool:
        """Return whether DVC does not know the fingerprints of the user's own files as they are."""
        path = str(sources.file(self.scale))
        return _hashes(self._stages.get(SOURCES_STAGE, {}), "outs") != {path: content.digest(Path(path))}

    def _expected(
        self, made: Made, written: Mapping[str, str | None], entry: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """Return the entry if it says what DVC would write of a job, None otherwise."""
        spec = STAGES[made.stage]
        read = {
            str(path): made.inputs[str(path)] for path in inputs(made.stage, self.scale, made.names).values()
        }
        read |= {folder: content.digest(Path(folder)) for folder in _folders(spec, self.scale)}
        read |= {
            str(path): made.inputs[str(path)] for path in models.sources(self._given, made.stage, made.names)
        }
        values: dict[str, dict[str, Any]] = {}
        for key in models.parameters(self._given, made.stage, made.names):
            file, dotted = _param(key, self.scale)
            dotted = dotted.format(**made.names)
            if dotted:
                values.setdefault(file, {})[dotted] = self._value(file, dotted)
            else:
                values[file] = self._value(file)
        values[CODE] = {made.stage: made.code}
        if _reads_sources(spec, self._given):
            paths_of = sources.files_of(made.stage, self._given, made.names)
            known = {str(path): made.inputs[str(path)] for path in paths_of if str(path) in made.inputs}
            values[str(sources.file(self.scale))] = {str(spec.source): known}
        says = {
            "cmd": entry.get("cmd") == command(made.stage, self.scale, **made.names),
            "deps": _hashes(entry, "deps") == read,
            "params": entry.get("params") == values,
            "outs": _hashes(entry, "outs") == written,
        }
        return entry if all(says.values()) else None

    def _value(self, file: str, dotted: str = "") -> Any:
        """Return a parameter as it stands in its file, or all of the file."""
        if file not in self._pages:
            self._pages[file] = YAML(typ="safe", pure=True).load(Path(file))
        value = self._pages[file]
        for part in dotted.split(".") if dotted else ():
            value = value.get(part) if isinstance(value, Mapping) else None
        return value


def check_lock(scale: str) -> None:
    """Do nothing if ``dvc.lock`` of a scale can be read, or is not there.

    Raises:
        PacavitError: it is damaged, or Git has left a conflict in it.
    """
    for file in _files(scale):
        _read_lock(file)


def _read_lock(file: Path) -> dict[str, Any]:
    """Return the stages of ``dvc.lock``, none if there is no such file; errors as of :func:`check_lock`."""
    path = file.with_suffix(".lock")
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}
    except UnicodeError:
        text = "\0"
    again = f"`git checkout -- {path}` brings back the committed one; without the file, DVC begins a new one"
    conflicts = [number for number, line in enumerate(text.splitlines(), 1) if line.startswith("<<<<<<< ")]
    if conflicts:
        places = ", ".join(map(str, conflicts))
        raise PacavitError(
            f"{path}: conflict of Git's at line {places}; take one side with `git checkout --ours {path}` or "
            "`--theirs`, then type the same again: what differs is run or committed"
        )
    try:
        stages = YAML(typ="safe").load(text)["stages"]
        well_formed = all(
            isinstance(item["path"], str)
            for entry in stages.values()
            for kind in ("deps", "outs")
            for item in entry.get(kind, [])
        )
    except (YAMLError, TypeError, KeyError, AttributeError):
        well_formed = False
    if not well_formed:
        raise PacavitError(f"{path}: is not as DVC writes it: empty, cut short or edited; {again}")
    return stages


def _hashes(entry: Mapping[str, Any], kind: str) -> dict[str, str]:
    return {item["path"]: item.get("md5") for item in entry.get(kind, [])}


def commit(scale: str, given: params.Params, found: Records, wanted: Iterable[tuple[str, Names]]) -> None:
    """Let DVC know what is up to date: what Snakemake ran, and what was run by hand.

    Raises:
        PacavitError: DVC refuses.
    """
    wanted = list(wanted)
    sources.write(scale, given, found.sources, wanted)
    if why_not() is not None:
        return
    write_code()
    write_yaml(scale, given)
    lock = Lock(scale, given)
    file = yaml_path(scale)
    lacking = [(file, CODE_STAGE)] if lock.lacks_code() else []
    if sources.file(scale).is_file() and lock.lacks_sources():
        lacking.append((file, SOURCES_STAGE))
    for stage, names in wanted:
        if STAGES[stage].released:
            continue
        status = found.status(stage, names)
        if status.state == "fresh" and lock.lacks(status.made, status.outputs):
            lacking.append(address(given, scale, stage, names))
    if lacking:
        relink = "no-relink" if cache.link_types()[0] == "copy" else "relink"
        lacking = list(dict.fromkeys(lacking))  # two targets may share a job
        addresses = [job if file == Path("dvc.yaml") else f"{file}:{job}" for file, job in lacking]
        _commit(relink, *addresses)


def _commit(*arguments: str) -> None:
    """Commit stages in a process of their own; wait a while for another DVC that is at work in this folder.

    Args:
        arguments: of :mod:`pacavit.pipeline.dvc_commit`.

    Raises:
        PacavitError: it fails, or the other one does not end.
    """
    command = [sys.executable, "-m", "pacavit.pipeline.dvc_commit", *arguments]
    start, told = time.monotonic(), False
    while True:
        # A list without a shell; its jobs are of checked names.
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if not result.returncode:
            return
        said = _error(result.stderr)
        if not any(words in said for words in _BUSY):
            how = said or f"it ended with {result.returncode} and no message"
            raise PacavitError(f"`dvc commit` failed: {how}; try it by hand")
        if time.monotonic() - start > _BUSY_SECONDS:
            raise PacavitError(
                f"{_busy(said)}; wait for it or end it, then type the same again: what has run stays done"
            )
        if not told:
            print(f"dvc: {_busy(said)}; waiting up to {_BUSY_SECONDS:.0f} s", file=sys.stderr)
            told = True


def _error(text: str) -> str:
    """Return DVC's message of an error in one line, which begins at its last ``ERROR:``."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    starts = [number for number, line in enumerate(lines) if line.startswith("ERROR:")]
    return " ".join(lines[starts[-1] if starts else -1 :]).removeprefix("ERROR:").strip()


def _busy(said: str) -> str:
    """Tell which process keeps DVC from its work, as far as DVC or its lock says that."""
    import psutil

    if _BUSY[0] not in said:
        return said
    holder = "another DVC"
    with suppress(OSError, ValueError, psutil.Error):
        number = int(_LOCK.read_text())
        holder = f"process {number} ({shlex.join(psutil.Process(number).cmdline())[:80]})"
    return f"{holder} holds {_LOCK}, as one DVC at a time does"
