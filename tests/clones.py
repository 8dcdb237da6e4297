"""Fresh clones of the working copy, with a miniature that takes a minute or two instead of ten."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

# What makes the miniature smaller still.
_SMALLER = {
    "data": [("train_images: 2400", "train_images: 160"), ("val_images: 449", "val_images: 40")]
    + [("train_images: 500", "train_images: 48"), ("val_images: 120", "val_images: 12")] * 2,
    "pretrain": [("  epochs: 20", "  epochs: 2")],
    "coco": [("  epochs: 6", "  epochs: 1"), ("validate_epochs: 2", "validate_epochs: 1")],
    "ade20k": [],
}


def small_clone(folder: Path) -> Path:
    """Copy what git knows of the working copy, as it stands, and shorten its miniature."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in files.splitlines():
        if (ROOT / name).exists() and not name.startswith(("reports/mini/", "tests/", "dvc.lock")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for page, edits in _SMALLER.items():
        path = folder / "params" / "mini" / f"{page}.yaml"
        for old, new in edits:
            assert old in path.read_text(), f"{page}.yaml no longer holds {old!r}"
            path.write_text(path.read_text().replace(old, new, 1))
    shorten(folder / "params" / "mini" / "ade20k.yaml", updates=4, warmup_updates=1, validate_updates=4)
    for command in (
        ["git", "init", "--quiet"],
        ["git", "add", "--all"],
        ["git", "commit", "--quiet", "-m", "Begin"],
    ):
        typed(folder, *command)
    return folder


def numbers(clone: Path) -> dict[str, dict[str, Any]]:
    """Return every metric of a clone's run, by file; not its origin, which names the clone's own commit."""
    found = {}
    for path in sorted(clone.glob("reports/mini/metrics/**/*.json")):
        metrics = json.loads(path.read_text())
        found[str(path.relative_to(clone))] = {key: metrics[key] for key in metrics if key != "origin"}
    return found


def shorten(page: Path, **values: int) -> None:
    """Replace values of a page's recipe."""
    lines = page.read_text().splitlines()
    for key, value in values.items():
        lines = [f"  {key}: {value}" if line.startswith(f"  {key}:") else line for line in lines]
    page.write_text("\n".join(lines) + "\n")


def environment() -> dict[str, str]:
    """Return the variables of a user who has activated the environment, and has a name for git."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    identity = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {**os.environ, **identity, "PATH": path}


def typed(folder: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command as one types it in a folder; see that it succeeds, unless told otherwise."""
    result = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=1200
    )
    assert not check or result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result
