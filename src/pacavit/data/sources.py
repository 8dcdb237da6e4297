"""The stages ``archives_*``: archives in the official layout, wherever the images come from."""

from __future__ import annotations

import importlib
import os
import time
from pathlib import Path
from typing import Any

from pooch import hashes

from pacavit.data import fetch
from pacavit.data.protection import require_apart
from pacavit.data.registry import DATASETS, ArchiveFile
from pacavit.errors import PacavitError
from pacavit.files import reading, remove_leftovers, writing
from pacavit.job import Job
from pacavit.params.data import DownloadedArchives, OwnArchives
from pacavit.runtime.progress import report


def provide(job: Job) -> None:
    """Draw the archives, pack them from a folder, fetch them, or link the user's own.

    Raises:
        PacavitError: a file is missing or not the official one, a download failed, or a folder holds no such data.
    """
    dataset = job.stage.removeprefix("archives_")
    source = getattr(job.params.data, dataset).archives
    require_apart(job.scale, dataset, source)
    for output in job.outputs.values():
        remove_leftovers(output)
    if source.kind == "digits":
        _maker("miniatures", dataset).draw(job.outputs, source)
        _report_made(job, "drawn from handwritten digits")
    elif source.kind == "folder":
        _maker("folders", dataset).pack(job.outputs, source)
        _report_made(job, "packed from your folder")
    elif source.kind == "own":
        take_own(job, dataset, source)
    else:
        download(job, dataset, source)


def _report_made(job: Job, how: str) -> None:
    for path in job.outputs.values():
        report(f"{path}: {path.stat().st_size:,} bytes, {how}")


def _maker(kind: str, dataset: str) -> Any:
    return importlib.import_module(f"pacavit.data.{kind}.{dataset}")


def take_own(job: Job, dataset: str, source: OwnArchives) -> None:
    """Check the user's archives and link them to where the preparation reads them.

    Raises:
        PacavitError: one is missing, or its size or hash is not the official one.
    """
    for key, output in job.outputs.items():
        file = DATASETS[dataset].files[key]
        path = Path(source.directory) / file.name
        if not path.is_file() or path.stat().st_size == 0:
            raise PacavitError(
                f"{path}: missing or empty; fetch the official {file.name} into that folder "
                f"({DATASETS[dataset].home}), or set another one in params/{job.scale}/data.yaml"
            )
        _verify(path, file, source.verify)
        link(path, output)


def download(job: Job, dataset: str, source: DownloadedArchives) -> None:
    """Fetch the archives into the user's folder, going on where an earlier attempt ended, and link them.

    Raises:
        PacavitError: the data set asks for an account, or a file cannot be had whole.
    """
    info = DATASETS[dataset]
    for key, output in job.outputs.items():
        file = info.files[key]
        url = f"{source.mirror.rstrip('/')}/{file.name}" if source.mirror else file.url
        if url is None:
            names = ", ".join(f.name for f in info.files.values())
            raise PacavitError(
                f"params/{job.scale}/data.yaml: {dataset}.archives.kind: {info.title} asks for an account; sign up at "
                f"{info.home}, put {names} into a folder, and set kind: own"
            )
        report(f"archives {dataset}: {url} ({info.terms})")
        link(fetch.fetch(url, Path(source.directory) / file.name, file.size, file.hash), output)


def link(path: Path, output: Path) -> None:
    """Give a file a second name, without a copy: a hard link, or a symbolic one to another file system.

    A file that is in place already, under whatever name, is left alone.
    """
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        if output.exists() and output.samefile(path):
            return
        output.unlink(missing_ok=True)
        try:
            os.link(path.resolve(), output)  # of a link the name alone would be doubled
        except OSError:
            output.symlink_to(path.resolve())


def _verify(path: Path, file: ArchiveFile, how: str) -> None:
    """Compare a file with what is known of the official one, as far as asked for and known."""
    size, start = path.stat().st_size, time.monotonic()
    checked = []
    if how != "nothing" and file.size is not None:
        if size != file.size:
            raise PacavitError(
                f"{path}: {size:,} bytes, but the official {file.name} has {file.size:,}; fetch it again, or set "
                "verify: nothing for a part of it"
            )
        checked.append("size")
    if how == "hash" and file.hash is not None:
        kind, _, expected = file.hash.partition(":")
        with reading(path):
            found = hashes.file_hash(str(path), alg=kind)
        if found != expected:
            raise PacavitError(
                f"{path}: its {kind} is {found}, but that of the official {file.name} is {expected}; fetch it again"
            )
        checked.append(kind)
    report(
        f"{path}: {size:,} bytes, {' and '.join(checked) or 'nothing'} checked, {time.monotonic() - start:.0f} s"
    )
