"""yapf's cached grammar, which two jobs that start together both write and read."""

import os
import pickle
import subprocess
import sys

import pytest

pytest.importorskip("yapf", reason="no yapf: pip install mmengine")

# Tells at each rename into yapf's cache what the file that takes its final name holds.
_WATCH = """
import os, pickle, sys
import {first}
rename, replace = os.rename, os.replace
def watch(move):
    def moved(source, target, **given):
        if str(target).endswith(".pickle"):
            print("whole" if pickle.STOP == open(source, "rb").read()[-1:] else "partial")
        return move(source, target, **given)
    return moved
os.rename, os.replace = watch(rename), watch(replace)
import yapf
"""


def renamed(first: str, cache) -> list[str]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    result = subprocess.run(
        [sys.executable, "-c", _WATCH.format(first=first)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.split()


def test_the_cache_has_its_name_when_all_of_it_is_written(tmp_path):
    assert renamed("pacavit", tmp_path) == ["whole", "whole"]
    caches = list(tmp_path.glob("YAPF/*/*.pickle"))
    assert len(caches) == 2
    for cache in caches:
        assert pickle.loads(cache.read_bytes())["start"] == 256
    # The next process reads it.
    assert renamed("pacavit", tmp_path) == []


def test_yapf_alone_needs_the_replacement(tmp_path):
    """Once yapf writes its cache safely itself, this fails and the replacement can go."""
    assert "partial" in renamed("os", tmp_path)
