"""Reads ``meta.mat`` of ImageNet's development kit in a process of its own: ``python -m pacavit.data.meta_mat < FILE``.

scipy 1.17 crashes on some damaged files instead of raising. What comes back is JSON, of which nothing can be run.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys

#: Number, synset and words of a class, and how many classes lie below it.
Row = tuple[int, str, str, int]


def read(content: bytes) -> list[Row]:
    """Return the rows of the table.

    Raises:
        ValueError: the file is damaged or holds no such table; the message is one line.
    """
    command = [sys.executable, "-m", "pacavit.data.meta_mat"]
    # Nothing of the command comes from outside.
    result = subprocess.run(command, input=content, capture_output=True, check=False)
    if result.returncode:
        said = result.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(said[-1] if said and result.returncode > 0 else "the reader crashed on it")
    return [tuple(row) for row in json.loads(result.stdout)]


def _rows(content: bytes) -> list[Row]:
    from scipy.io import loadmat

    table = loadmat(io.BytesIO(content), squeeze_me=True)["synsets"]
    return [
        (int(row["ILSVRC2012_ID"]), str(row["WNID"]), str(row["words"]), int(row["num_children"]))
        for row in table
    ]


if __name__ == "__main__":
    print(json.dumps(_rows(sys.stdin.buffer.read())))
