"""Repositories in which everything is real but the work of the stages."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import repositories
from workflow_repository import Checkout


@pytest.fixture(scope="session")
def copy_unbuilt(tmp_path_factory) -> Callable[[Path], Checkout]:
    """A function that copies a repository in which nothing has run into a folder: even a dry run leaves files."""
    fresh = repositories.create(tmp_path_factory.mktemp("fresh") / "project")
    return partial(_copy, fresh)


def _copy(source: Checkout, folder: Path) -> Checkout:
    shutil.copytree(source.folder, folder / "project", symlinks=True)
    return Checkout(folder / "project")


@pytest.fixture(scope="session")
def _built(copy_unbuilt, once) -> Checkout:
    def build(folder: Path) -> None:
        repositories.build(copy_unbuilt(folder))

    return Checkout(once("built", build) / "project")


@pytest.fixture
def unbuilt(copy_unbuilt, tmp_path) -> Checkout:
    """A repository with two variants in which nothing has run."""
    return copy_unbuilt(tmp_path)


@pytest.fixture
def built(_built, tmp_path) -> Checkout:
    """A copy in which `snakemake` has run everything and the result is committed."""
    return _copy(_built, tmp_path)
