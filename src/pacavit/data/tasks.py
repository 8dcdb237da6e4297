"""The parts of a preparation: done by several processes, each once, whatever interrupts the whole."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from pacavit.errors import PacavitError
from pacavit.files import json_object, write_json
from pacavit.runtime.progress import report

#: Number of processes; by default one for each core that this job may use.
WORKERS = "PACAVIT_WORKERS"
_RECORDS = ".done"
#: Broken images that a message names; the others are in a file.
_NAMED = 20


@dataclass
class Record:
    """What one finished part wrote.

    Attributes:
        files: SHA-256 by path below the folder.
        sizes: bytes, likewise.
        images: how many it checked.
        broken: names of images that cannot be decoded, with the reason; such a part counts as not done.
        facts: what later steps need to know of it, as JSON types.
    """

    files: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    images: int = 0
    broken: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


class Part(Protocol):
    """A piece of work with a name of its own, done by a call with the folder to write to.

    Attributes:
        images: how many it has.
        kind: what they are called.
    """

    name: str
    images: int
    kind: str

    def __call__(self, folder: Path) -> Record: ...


def run(
    folder: Path, parts: Sequence[Part], label: str, work: Path, remedy: str = "fetch it again"
) -> list[Record]:
    """Do all parts that are not done yet, and return the record of each, in their order.

    Args:
        folder: where parts write, and their records are kept until :func:`clear`.
        parts: the work; the same list gives the same files, whatever the number of processes.
        label: of the progress bar.
        work: the job's work folder, for the full list of broken images.
        remedy: what to do about an archive with broken images.

    Raises:
        PacavitError: images are broken.
    """
    start = time.monotonic()
    records = {part.name: _done(folder, part.name) for part in parts}
    missing = [part for part in parts if records[part.name] is None]
    kinds: Counter[str] = Counter()
    for part in parts:
        kinds[part.kind] += part.images
    total = kinds.total()
    ready = total - sum(part.images for part in missing)
    if ready:
        report(f"{label}: {ready:,} of {total:,} {' and '.join(kinds)} are ready from an earlier attempt")
    with tqdm(desc=label, total=total, initial=ready, unit="file", disable=None) as bar:
        for part, record in _finished(folder, missing):
            if not record.broken:
                write_json(_record(folder, part.name), asdict(record))
            records[part.name] = record
            bar.update(part.images)
    seconds = time.monotonic() - start
    _refuse_broken([name for record in records.values() for name in record.broken], label, work, remedy)
    counted = " and ".join(f"{count:,} {kind}" for kind, count in kinds.items())
    report(f"{label}: {counted} in {seconds:.1f} s, {(total - ready) / max(seconds, 1e-9):.0f} files/s")
    return list(records.values())


def clear(folder: Path) -> None:
    """Remove the records when the folder is complete, and the temporary files of attempts that were killed."""
    shutil.rmtree(folder / _RECORDS, ignore_errors=True)
    for path in folder.glob(".*"):
        path.unlink()


def processes() -> int:
    """Return how many processes prepare data.

    Raises:
        PacavitError: :data:`WORKERS` is not a positive number.
    """
    asked = os.environ.get(WORKERS)
    if asked is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not asked.isdecimal() or int(asked) < 1:
        raise PacavitError(f"{WORKERS}={asked}: expected a number of processes, 1 or more")
    return int(asked)


def in_order(
    function: Callable[[Any], Any], items: Iterable[Any], together: int | None = None
) -> Iterator[Any]:
    """Give ``function(item)`` of each item, computed by several processes, in the items' order.

    Args:
        function: what to compute.
        items: of what.
        together: how many a process computes before it hands over the results, which should not fill the memory; by
            default an eighth of its share.
    """
    items = list(items)
    if processes() == 1 or len(items) < 2:
        yield from map(function, items)
        return
    together = together or max(1, len(items) // (8 * processes()))
    with _pool() as pool:
        try:
            yield from pool.map(function, items, chunksize=together)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _finished(folder: Path, parts: Sequence[Part]) -> Iterator[tuple[Part, Record]]:
    if processes() == 1 or len(parts) < 2:
        for part in parts:
            yield part, part(folder)
        return
    with _pool() as pool:
        pending = {pool.submit(part, folder): part for part in parts}
        try:
            for future in as_completed(pending):
                yield pending.pop(future), future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _pool() -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(
        processes(), mp_context=context, initializer=_end_with, initargs=(os.getpid(),)
    )


def _end_with(parent: int) -> None:
    """End this process soon after its parent, which may have been killed without a word."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _record(folder: Path, name: str) -> Path:
    return folder / _RECORDS / f"{name}.json"


def _done(folder: Path, name: str) -> Record | None:
    """Return the record of a part; None if it is damaged, or a file of the part is not there at its full size."""
    content = json_object(_record(folder, name))
    if not content:
        return None
    record = Record(**content)
    for file, size in record.sizes.items():
        if not (folder / file).is_file() or (folder / file).stat().st_size != size:
            return None
    return record


def _refuse_broken(names: list[str], label: str, work: Path, remedy: str) -> None:
    if not names:
        return
    work.mkdir(parents=True, exist_ok=True)
    listing = work / "broken.txt"
    listing.write_text("\n".join(names) + "\n")
    more = f", and {len(names) - _NAMED} more, all in {listing}" if len(names) > _NAMED else ""
    raise PacavitError(
        f"{label}: {len(names)} broken images in the archive; {remedy}: {', '.join(names[:_NAMED])}{more}"
    )
