"""The development kit of ILSVRC2012: which synset each of its numbers is, and the classes of the validation images."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pacavit.data import meta_mat
from pacavit.data.archives import SOURCES, add_to_tar, new_tar, sources_text, tar_files
from pacavit.errors import PacavitError

_FOLDER = "ILSVRC2012_devkit_t12/data"
_META = f"{_FOLDER}/meta.mat"
_GROUND_TRUTH = f"{_FOLDER}/ILSVRC2012_validation_ground_truth.txt"


def write_devkit(
    path: Path,
    classes: Mapping[int, tuple[str, str]],
    ground_truth: Sequence[int],
    files: Mapping[str, Path] | None = None,
) -> None:
    """Write a development kit.

    Args:
        path: of the archive.
        classes: synset and name by number.
        ground_truth: the number of each validation image in order.
        files: the user's file by the name of each packed image, if it was packed from a folder.
    """
    with new_tar(path, compressed=True) as archive:
        add_to_tar(archive, _META, _meta_mat(classes))
        add_to_tar(archive, _GROUND_TRUTH, "".join(f"{number}\n" for number in ground_truth).encode())
        if files is not None:
            add_to_tar(archive, SOURCES, sources_text(files))


def read_devkit(path: Path) -> tuple[list[str], dict[str, str], list[str]]:
    """Return the sorted synsets, their names, and the synset of each validation image in order.

    Raises:
        PacavitError: a file is missing from it, or cannot be read.
    """
    with tarfile.open(path) as archive:
        content = dict(tar_files(archive, without=SOURCES))
    for name in (_META, _GROUND_TRUTH):
        if name not in content:
            raise PacavitError(f"{path}: no {name} in it; this is not the ILSVRC2012 development kit")
    try:
        rows = meta_mat.read(content[_META])
    except ValueError as error:
        raise PacavitError(f"{path}: {_META} cannot be read ({error}); fetch or make it again") from error
    # Inner nodes of WordNet's tree stand in the table too; only leaves have images.
    leaves = [(number, synset, words) for number, synset, words, below in rows if below == 0]
    by_number = {number: synset for number, synset, _ in leaves}
    names = {synset: words for _, synset, words in leaves}
    try:
        ground_truth = [by_number[int(line)] for line in content[_GROUND_TRUTH].decode().split()]
    except (KeyError, ValueError) as error:
        raise PacavitError(f"{path}: {_GROUND_TRUTH} names class {error}, which {_META} lacks") from error
    return sorted(names), names, ground_truth


def _meta_mat(classes: Mapping[int, tuple[str, str]]) -> bytes:
    """Return ``meta.mat`` with the fields of the official one that name a class, and one inner node."""
    from scipy.io import savemat

    rows = [(number, synset, name, 0) for number, (synset, name) in sorted(classes.items())]
    rows.append((len(rows) + 1, f"n{len(rows):08d}", "entity", len(rows)))
    table = np.array(
        rows, dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    )
    file = io.BytesIO()
    savemat(file, {"synsets": table})
    content = bytearray(file.getvalue())
    # scipy writes the time into the first 116 bytes, which are free text.
    content[:116] = b"MATLAB 5.0 MAT-file".ljust(116)
    return bytes(content)
