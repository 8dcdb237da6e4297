"""Outputs of earlier jobs, taken from DVC's cache."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from dvc import dirs

from pacavit.errors import PacavitError
from pacavit.files import atomic_directory
from pacavit.pipeline import content, records

_CONFIGS = (Path(".dvc/config"), Path(".dvc/config.local"))


def restore(made: records.Made) -> bool:
    """Put a job's outputs back as a record says they were; return whether some were put back, and all are there.

    Nothing is touched unless all are to be had.
    """
    recorded = records.load(made)
    return recorded is not None and bool(_lacking(recorded)) and put_back(recorded)


def can_put_back(recorded: Mapping[str, str]) -> bool:
    """Return whether the outputs of a record are there or in the cache."""
    return all(is_cached(digest) for digest in _lacking(recorded).values())


def put_back(recorded: Mapping[str, str]) -> bool:
    """Put outputs back whose hashes by path are given, if all are there or in the cache; return whether they are."""
    lacking = _lacking(recorded)
    if not all(is_cached(digest) for digest in lacking.values()):
        return False
    for path, digest in lacking.items():
        if digest.endswith(".dir"):
            with atomic_directory(Path(path)) as folder:
                for relative, md5 in _listed(digest):
                    target = folder / relative
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _link(_object(md5), target)
        else:
            target = Path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
                _link(_object(digest), Path(folder, target.name))
                os.replace(Path(folder, target.name), target)
    return True


def _lacking(recorded: Mapping[str, str]) -> dict[str, str]:
    return {path: digest for path, digest in recorded.items() if content.digest(Path(path)) != digest}


def is_cached(digest: str) -> bool:
    """Return whether the cache holds a file or folder, as it was: links may have been written through."""
    if content.digest(_object(digest)) != digest.removesuffix(".dir"):
        return False
    return not digest.endswith(".dir") or all(
        content.digest(_object(md5)) == md5 for _, md5 in _listed(digest)
    )


def _listed(digest: str) -> Iterator[tuple[str, str]]:
    for entry in json.loads(_object(digest).read_text()):
        yield entry["relpath"], entry["md5"]


def _object(digest: str) -> Path:
    folder = Path(".dvc", Path(option("cache", "dir", "cache")).expanduser())
    return folder / "files" / "md5" / digest[:2] / digest[2:]


def option(section: str, name: str, default: str) -> str:
    """Return an option of DVC's configuration: of the system, the user, the project, or this copy of it.

    Raises:
        PacavitError: a file of it cannot be read, as after a conflict of Git's.
    """
    above = (Path(folder, "config") for folder in (dirs.system_config_dir(), dirs.global_config_dir()))
    config = configparser.ConfigParser(interpolation=None)
    for path in (*above, *_CONFIGS):
        try:
            config.read(path)
        except (configparser.Error, UnicodeError) as error:
            raise PacavitError(
                f"{path}: not as DVC writes it ({' '.join(str(error).split())}); mend it, and end a conflict of Git's"
            ) from None
    return config.get(section, name, fallback=default).strip().strip('"')


def link_types() -> list[str]:
    """Return how DVC is told to bring files of its cache to their places, the best way first."""
    return [kind.strip() for kind in option("cache", "type", "copy").split(",")]


def _link(source: Path, target: Path) -> None:
    """Bring a file of the cache to its place, by a link of the kind that DVC is told to use, or by a copy."""
    for kind in link_types():
        try:
            if kind == "hardlink":
                os.link(source, target)
                return
            if kind == "symlink":
                target.symlink_to(source.resolve())
                return
        except OSError:
            continue
    shutil.copyfile(source, target)
