"""A development kit from outside is read without running anything of it, and without taking the reader down."""

import io
import random
import subprocess
import sys
from contextlib import suppress

import pytest

from pacavit.data import devkit, meta_mat
from pacavit.data.archives import add_to_tar, new_tar
from pacavit.errors import PacavitError

CLASSES = {1: ("n01", "tench"), 2: ("n02", "__import__('os').system('id')")}
#: The reader, under an ear for what the interpreter tells of pickles, of code that is run and of programs started.
LISTENING = """
import sys
import scipy.io
from pacavit.data.meta_mat import _rows

content = sys.stdin.buffer.read()
dangerous = ("pickle.", "exec", "os.exec", "os.system", "os.posix_spawn", "subprocess.", "ctypes.", "socket.")
sys.addaudithook(lambda event, arguments: print(event) if event.startswith(dangerous) else None)
print(len(_rows(content)), "rows")
"""


def kit(path, meta: bytes):
    with new_tar(path, compressed=True) as archive:
        add_to_tar(archive, devkit._META, meta)
        add_to_tar(archive, devkit._GROUND_TRUTH, b"2\n1\n")
    return path


def test_a_kit_comes_back_as_it_was_written(tmp_path):
    devkit.write_devkit(tmp_path / "kit.tar.gz", CLASSES, [2, 1])
    names = dict(CLASSES.values())
    assert devkit.read_devkit(tmp_path / "kit.tar.gz") == (["n01", "n02"], names, ["n02", "n01"])


def test_reading_runs_nothing():
    result = subprocess.run(
        [sys.executable, "-c", LISTENING], input=devkit._meta_mat(CLASSES), capture_output=True, timeout=60
    )
    assert result.stdout == b"3 rows\n", result.stderr


def test_a_crash_of_the_reader_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "crashing"))
    (tmp_path / "crashing").write_text("#!/bin/sh\nkill -SEGV $$\n")
    (tmp_path / "crashing").chmod(0o755)
    with pytest.raises(PacavitError, match=r"kit: .*meta\.mat cannot be read \(the reader crashed on it\)"):
        devkit.read_devkit(kit(tmp_path / "kit", b"any"))


@pytest.mark.parametrize("meta", [b"", b"no MAT-file" * 100, devkit._meta_mat(CLASSES)[:700]])
def test_a_damaged_table_is_one_line(tmp_path, meta):
    with pytest.raises(PacavitError, match=r"kit: .*meta\.mat cannot be read \(.*\); fetch") as caught:
        devkit.read_devkit(kit(tmp_path / "kit", meta))
    assert "\n" not in str(caught.value)


def test_a_file_without_the_table_is_one_line(tmp_path):
    from scipy.io import savemat

    other = io.BytesIO()
    savemat(other, {"other": [1.0]})
    with pytest.raises(PacavitError, match=r"cannot be read \(KeyError: 'synsets'\)"):
        devkit.read_devkit(kit(tmp_path / "kit", other.getvalue()))


@pytest.mark.slow
def test_whatever_byte_is_wrong_the_reader_survives():
    chance = random.Random(0)
    whole = devkit._meta_mat(CLASSES)
    for _ in range(30):
        damaged = bytearray(whole)
        damaged[chance.randrange(116, len(whole))] = chance.randrange(256)
        with suppress(ValueError):
            meta_mat.read(bytes(damaged))
    assert len(meta_mat.read(whole)) == 3
