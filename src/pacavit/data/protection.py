"""Sources that lie where the pipeline writes, and would be lost to it, are refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pydantic import BaseModel

from pacavit import paths
from pacavit.data.registry import DATASETS
from pacavit.errors import PacavitError
from pacavit.files import require_replaceable
from pacavit.params.data import DataPage, DownloadedArchives, OwnArchives


def require_all_apart(scale: str, data: DataPage) -> None:
    """Refuse what :func:`require_apart` refuses, and archives in place, which Snakemake would remove.

    Raises:
        PacavitError: it is so for a data set.
    """
    for dataset in DATASETS:
        require_apart(scale, dataset, getattr(data, dataset).archives, in_place=False)
    weights = Path(data.released.directory)
    refuse_prepared(weights, f"params/{scale}/data.yaml: released.directory: {weights}")


def require_all_replaceable(scale: str) -> None:
    """Refuse what Snakemake would remove before a preparation runs, though that would not replace it.

    Raises:
        PacavitError: the folder of a prepared data set is a link, or holds something else.
    """
    for dataset in DATASETS:
        require_replaceable(paths.path(paths.PREPARED, scale=scale, dataset=dataset))


def require_apart(scale: str, dataset: str, source: BaseModel, in_place: bool = True) -> None:
    """Refuse sources that are inside what a stage writes, by whatever path or link.

    Args:
        scale: folder below ``params/``.
        dataset: what the sources are of.
        source: the section of the page that names them.
        in_place: let archives be where the stage ``archives_*`` puts them, which leaves them alone.

    Raises:
        PacavitError: a source is inside a prepared data set, or holds one, or is an archive in place.
    """
    where = f"params/{scale}/data.yaml: {dataset}.archives"
    if not isinstance(source, (OwnArchives, DownloadedArchives)):
        for key, path in paths_of(source):
            refuse_prepared(path, f"{where}.{key}: {path}", holding=True)
        return
    for file in DATASETS[dataset].files.values():
        path = Path(source.directory) / file.name
        refuse_prepared(path, f"{where}.directory: {path}")
        output = paths.path(paths.ARCHIVES, scale=scale, dataset=dataset) / file.name
        if not in_place and _entry(output) in (_entry(path), _real(path)):
            raise PacavitError(
                f"{where}.directory: {path} is where stage archives_{dataset} writes, which Snakemake clears "
                "before it runs it; move your archives to another folder and name that"
            )


def refuse_prepared(path: Path, name: str, holding: bool = False) -> None:
    """Refuse a file or folder inside a prepared data set of any scale, or one that holds such a set.

    Args:
        path: of the source.
        name: what to call it.
        holding: also refuse a folder that holds a prepared data set.

    Raises:
        PacavitError: it is so.
    """
    real = _real(path)
    for (dataset, folder), output in _prepared(os.getcwd()).items():
        inside = real.is_relative_to(output)
        if inside or (holding and output.is_relative_to(real)):
            raise PacavitError(
                f"{name} is {'inside' if inside else 'around'} {folder}, which `pacavit prepare {dataset}` replaces; "
                "move it to a folder of its own and name that"
            )


@cache  # of a folder of links it is asked for each
def _prepared(project: str) -> dict[tuple[str, Path], Path]:
    """Return where prepared data sets of all scales really are, by data set and name; the project is the folder now."""
    scales = [
        folder.name for folder in paths.path(paths.PARAMS, scale="*", page="*").parent.parent.glob("*/")
    ]
    folders = [
        (dataset, paths.path(paths.PREPARED, scale=scale, dataset=dataset))
        for scale in scales
        for dataset in DATASETS
    ]
    return {(dataset, folder): _real(folder) for dataset, folder in folders}


def paths_of(source: BaseModel, prefix: str = "") -> Iterator[tuple[str, Path]]:
    """Give the files and folders that a section of the page names, by dotted key."""
    for key, value in source:
        if isinstance(value, BaseModel):
            yield from paths_of(value, f"{prefix}{key}.")
        elif key in ("directory", "images", "labels", "annotations"):
            yield f"{prefix}{key}", Path(value)


def _entry(path: Path) -> Path:
    """Return where a name stands in the file system, whatever it leads to."""
    return _real(path.parent) / path.name


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
