"""The user's own files that a stage reads, and fingerprints by which a change of them is seen.

``pipelines/<scale>/sources.json`` keeps the last fingerprint of each file and folder. It stands for one that is
gone, so that what was made from it stays up to date.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from pacavit import params, paths, published
from pacavit.data.protection import paths_of
from pacavit.data.registry import DATASETS
from pacavit.errors import PacavitError
from pacavit.files import is_hidden, write_json
from pacavit.pipeline import content
from pacavit.pipeline.table import STAGES, Names

_RELEASED = "released"


class Sources:
    """The user's files of a scale, as they are when they are first asked for.

    Args:
        scale: folder below ``params/``.
        given: its parameters.
    """

    def __init__(self, scale: str, given: params.Params) -> None:
        self._given = given
        self._known = known(scale)
        self._seen: dict[str, str | None] = {}

    def of(self, stage: str, names: Names) -> dict[str, str]:
        """Return the fingerprint of each file and folder of the user's that a job reads, by path.

        One that is gone has its last fingerprint, or none.
        """
        section = STAGES[stage].source
        last = self._known.get(section, {}) if section else {}
        found = {}
        for path in files_of(stage, self._given, names):
            fingerprint = self._look(path, by_hash=_is_by_hash(section, self._given)) or last.get(str(path))
            if fingerprint is not None:
                found[str(path)] = fingerprint
        return found

    def _look(self, path: Path, by_hash: bool) -> str | None:
        if self._seen.get(str(path)) is None:  # a download may have brought it meanwhile
            self._seen[str(path)] = _fingerprint(path, by_hash)
        return self._seen[str(path)]


def file(scale: str) -> Path:
    """Return where the last fingerprints are kept."""
    return paths.path(paths.SOURCES, scale=scale)


def known(scale: str) -> dict[str, dict[str, str]]:
    """Return the last fingerprints by section of ``data.yaml`` and path.

    Raises:
        PacavitError: the file that keeps them is damaged.
    """
    path = file(scale)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {section: dict(fingerprints) for section, fingerprints in found.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError):
        raise PacavitError(
            f"{path}: not the JSON that `pacavit sources` writes; if Git left conflict marks in it, take one side, or "
            "remove the file"
        ) from None


def write(scale: str, given: params.Params, now: Sources, jobs: Iterable[tuple[str, Names]]) -> None:
    """Write the fingerprints of what jobs read, if they changed.

    Args:
        scale: folder below ``params/``.
        given: its parameters.
        now: the files as they are.
        jobs: whose. What others read keeps its fingerprints.

    Raises:
        PacavitError: the file is damaged or cannot be written.
    """
    before = known(scale)
    found = dict(before)
    for stage, names in jobs:
        if section := STAGES[stage].source:
            found[section] = found.get(section, {}) | now.of(stage, names)
    named = {section: _named(section, given) for section in found}
    found = {
        section: {path: text for path, text in each.items() if path in named[section]}
        for section, each in found.items()
    }
    found = {section: each for section, each in found.items() if each}
    if found == before:
        return
    if found:
        write_json(file(scale), found)
    else:
        file(scale).unlink(missing_ok=True)


def is_read(stage: str, given: params.Params) -> bool:
    """Return whether a stage reads files of the user's."""
    section = STAGES[stage].source
    return section is not None and bool(section == _RELEASED or _archives_of(section, given))


def files_of(stage: str, given: params.Params, names: Names) -> list[Path]:
    """Return the files and folders of the user's that a job reads, there or not."""
    section = STAGES[stage].source
    if section is None:
        return []
    if section == _RELEASED:
        weights = published.checkpoints(Path(paths.PUBLISHED).resolve())
        task = stage.removeprefix(f"{_RELEASED}_")
        name = weights.get((task, str(names["variant"]), str(names.get("head", ""))))
        return [] if name is None else [Path(given.data.released.directory, name)]
    return _archives_of(section, given)


def _archives_of(dataset: str, given: params.Params) -> list[Path]:
    source = getattr(given.data, dataset).archives
    if source.kind == "digits":
        return []
    if source.kind in ("own", "download"):
        return [Path(source.directory, each.name) for each in DATASETS[dataset].files.values()]
    return list(dict.fromkeys(path for _, path in paths_of(source)))


def _is_by_hash(section: str | None, given: params.Params) -> bool:
    source = getattr(getattr(given.data, str(section), None), "archives", None)
    return "hash" in (getattr(source, "verify", None), getattr(source, "compare", None))


def _named(section: str, given: params.Params) -> set[str]:
    if section in DATASETS:
        return {str(path) for path in _archives_of(section, given)}
    if section != _RELEASED:
        return set()
    names = published.checkpoints(Path(paths.PUBLISHED).resolve()).values()
    return {str(Path(given.data.released.directory, name)) for name in names}


def _fingerprint(path: Path, by_hash: bool) -> str | None:
    """Return a text that tells the files at a path from others: their number, bytes, and a digest.

    The digest is of names, sizes and times of change, or of names and contents. A folder without a file in it is as one
    that is gone: a disk may not be mounted.
    """
    found = list(files_below(path))
    if not found:
        return None
    hashes: dict[Path, str] = {}
    if by_hash:
        try:
            hashes = content.hashes_of([Path(file) for file, status in found if stat.S_ISREG(status.st_mode)])
        except OSError as error:
            raise PacavitError(
                f"{error.filename}: cannot be read ({error.strerror}); change its rights, or remove it"
            ) from None
    top = len(str(path))
    lines = [
        os.fsencode(
            f"{file[top:]}\0{hashes.get(Path(file)) if by_hash else f'{status.st_size} {status.st_mtime_ns}'}"
        )
        for file, status in found
    ]
    digest = hashlib.sha256(b"\n".join(sorted(lines))).hexdigest()[:16]
    size = sum(status.st_size for _, status in found)
    return f"files {len(found)}, bytes {size}, {'contents' if by_hash else 'times'} {digest}"


def files_below(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the files at or below a path, those behind links too, with their status, but no hidden ones.

    A folder that cannot be read stands for what is in it; the job that is to read it tells of that.
    """
    # There may be a million, so that nothing is made of each but text.
    try:
        status = os.stat(path)
    except OSError:
        return
    if not stat.S_ISDIR(status.st_mode):
        yield str(path), status
        return
    pending = [(str(path), status, frozenset[tuple[int, int]]())]
    while pending:
        folder, status, above = pending.pop()
        here = above | {(status.st_dev, status.st_ino)}
        if here == above:
            continue  # a link to a folder above it
        try:
            with os.scandir(folder) as opened:
                entries = list(opened)
        except OSError:
            yield folder, status
            continue
        for entry in entries:
            if is_hidden(entry.name):
                continue
            try:
                status = entry.stat()
            except OSError:
                status = entry.stat(follow_symlinks=False)  # of a link that leads nowhere
            if stat.S_ISDIR(status.st_mode):
                pending.append((entry.path, status, here))
            else:
                yield entry.path, status
