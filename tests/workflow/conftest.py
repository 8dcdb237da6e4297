"""Repositories in which everything is real but the work of the stages."""

import shutil
from pathlib import Path

import pytest
import repositories
from workflow_repository import Checkout


@pytest.fixture(scope="session")
def fresh(tmp_path_factory) -> Checkout:
    """A repository with two variants in which nothing has run."""
    return repositories.create(tmp_path_factory.mktemp("fresh") / "project")


def _copy(source: Checkout, folder: Path) -> Checkout:
    shutil.copytree(source.folder, folder / "project", symlinks=True)
    return Checkout(folder / "project")


@pytest.fixture(scope="session")
def _built(fresh, once) -> Checkout:
    def build(folder: Path) -> None:
        repositories.build(_copy(fresh, folder))

    return Checkout(once("built", build) / "project")


@pytest.fixture
def unbuilt(fresh, tmp_path) -> Checkout:
    """A copy in which nothing has run."""
    return _copy(fresh, tmp_path)


@pytest.fixture
def built(_built, tmp_path) -> Checkout:
    """A copy in which `snakemake` has run everything and the result is committed."""
    return _copy(_built, tmp_path)
