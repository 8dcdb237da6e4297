"""Fixtures that several test modules share."""

import os
import shutil
from pathlib import Path

import pytest

# Small tensors gain nothing from several threads, and tests beside each other lose much.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder that is the current one and holds the parameters of this checkout, and nothing else."""
    shutil.copytree(ROOT / "params", tmp_path / "params")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PACAVIT_TRACKING", "off")
    return tmp_path
