"""Projects that hold the published numbers."""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def published_numbers(project):
    """The project, with the published numbers."""
    shutil.copytree(ROOT / "claims", project / "claims")
    return project
