"""Repositories in which everything is real but the work of the stages."""

import shutil
from pathlib import Path

import pytest
from workflow_repository import ROOT, VARIANTS, Checkout


def _second_variant(page: Path) -> None:
    lines = page.read_text().splitlines()
    first = next(line for line in lines if line.startswith("  test_pacavit:"))
    page.write_text("\n".join([*lines, first.replace("test_pacavit", "second")]) + "\n")


@pytest.fixture(scope="session")
def fresh(tmp_path_factory) -> Checkout:
    """A repository with two variants in which nothing has run."""
    folder = tmp_path_factory.mktemp("fresh") / "project"
    folder.mkdir()
    for name in (
        "Snakefile",
        "profiles",
        "slurm",
        "workflow",
        "dvc.yaml",
        ".dvcignore",
        ".gitignore",
        "params",
        "claims",
        "reports/benchmarks.json",
    ):
        source = ROOT / name
        (folder / name).parent.mkdir(exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    (folder / ".dvc").mkdir()
    for name in ("config", ".gitignore"):
        shutil.copy(ROOT / ".dvc" / name, folder / ".dvc" / name)
    for page in ("pretrain", "coco", "ade20k"):
        _second_variant(folder / "params" / "mini" / f"{page}.yaml")
    targets = folder / "params" / "mini" / "targets.yaml"
    targets.write_text(targets.read_text().replace("[test_pacavit]", f"[{', '.join(VARIANTS)}]"))
    (folder / ".gitignore").write_text((folder / ".gitignore").read_text() + "*.log\n")
    checkout = Checkout(folder)
    checkout.run("git", "init", "--quiet", "--initial-branch=main")
    checkout.run("git", "add", "--all")
    checkout.run("git", "commit", "--quiet", "--message", "Begin")
    return checkout


def _copy(source: Checkout, folder: Path) -> Checkout:
    shutil.copytree(source.folder, folder / "project", symlinks=True)
    return Checkout(folder / "project")


@pytest.fixture(scope="session")
def _built(fresh, once) -> Checkout:
    def build(folder: Path) -> None:
        built = _copy(fresh, folder)
        built.snakemake()
        built.run("git", "add", "--all")
        built.run("git", "commit", "--quiet", "--message", "Run")

    return Checkout(once("built", build) / "project")


@pytest.fixture
def unbuilt(fresh, tmp_path) -> Checkout:
    """A copy in which nothing has run."""
    return _copy(fresh, tmp_path)


@pytest.fixture
def built(_built, tmp_path) -> Checkout:
    """A copy in which `snakemake` has run everything and the result is committed."""
    return _copy(_built, tmp_path)
