"""Makes repositories in which everything is real but the work of the stages."""

import shutil
from pathlib import Path

from workflow_repository import ROOT, VARIANTS, Checkout


def create(folder: Path) -> Checkout:
    """Make a repository with two variants in which nothing has run."""
    folder.mkdir(parents=True)
    for name in (
        "Snakefile",
        "profiles",
        "slurm",
        "workflow",
        "src",
        ".dvcignore",
        ".gitignore",
        "params",
        "claims",
        "reports/benchmarks.json",
    ):
        source = ROOT / name
        (folder / name).parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, folder / name)
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


def build(checkout: Checkout) -> None:
    """Run everything with `snakemake`, and commit the result."""
    checkout.snakemake()
    checkout.run("git", "add", "--all")
    checkout.run("git", "commit", "--quiet", "--message", "Run")


def _second_variant(page: Path) -> None:
    lines = page.read_text().splitlines()
    first = next(line for line in lines if line.startswith("  test_pacavit:"))
    page.write_text("\n".join([*lines, first.replace("test_pacavit", "second_pacavit")]) + "\n")
