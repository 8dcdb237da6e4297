"""Fresh clones of the working copy, with a miniature that takes seconds to train."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from pacavit import params
from pacavit.pipeline import content, records, targets
from pages import change

ROOT = Path(__file__).resolve().parent.parent

#: Stages whose results the repository holds, since they follow from the paper's parameters alone.
COUNTED = ("complexity", "costs")

_BATCH = {"recipe.global_batch": 8, "recipe.micro_batch": 8}
_WARM_UP = {"recipe.warmup_updates": 1, "recipe.log_updates": 2}
# What makes the miniature smaller still: a few updates, on a few images.
_SMALLER = {
    "data": {
        **{f"{name}.archives.train_images": 32 for name in ("imagenet", "coco", "ade20k")},
        **{f"{name}.archives.val_images": 10 for name in ("imagenet", "coco", "ade20k")},
    },
    "pretrain": {"recipe.epochs": 2, "recipe.warmup_epochs": 1, **_BATCH},
    "coco": {"recipe.epochs": 1, "recipe.drop_epochs": [], "recipe.validate_epochs": 1, **_BATCH, **_WARM_UP},
    "ade20k": {"recipe.updates": 4, "recipe.validate_updates": 4, **_BATCH, **_WARM_UP},
    "evaluate": {"clusters.images": 10},
}


def small_clone(folder: Path) -> Path:
    """Copy what git knows of the working copy, as it stands, and shorten its miniature."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in files.splitlines():
        if (ROOT / name).exists() and not name.startswith("tests/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for page, values in _SMALLER.items():
        for place, value in values.items():
            change(folder / "params" / "mini" / f"{page}.yaml", place, value)
    _keep_counts(folder)
    for command in (
        ["git", "init", "--quiet"],
        ["git", "add", "--all"],
        ["git", "commit", "--quiet", "-m", "Begin"],
    ):
        typed(folder, *command)
    return folder


def _keep_counts(folder: Path) -> None:
    """Let the counts in the repository, which take minutes, pass for the result of the code as it is."""
    with contextlib.chdir(folder):
        given = params.load("mini")
        for stage in COUNTED:
            made = records.Records("mini", given).status(stage, {}).made
            written = targets.outputs(stage, "mini", {}).values()
            records.save(made, {str(path): content.digest(path) for path in written})


def numbers(clone: Path) -> dict[str, dict[str, Any]]:
    """Return every metric of a clone's run, by file; not its origin, which names the clone's own commit."""
    found = {}
    for path in sorted(clone.glob("reports/mini/metrics/**/*.json")):
        metrics = json.loads(path.read_text())
        found[str(path.relative_to(clone))] = {key: metrics[key] for key in metrics if key != "origin"}
    return found


def environment() -> dict[str, str]:
    """Return the variables of a user who has activated the environment, and has a name for git."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    identity = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {**os.environ, **identity, "PATH": path}


def typed(
    folder: Path, *command: str, check: bool = True, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command as one types it in a folder; see that it succeeds, unless told otherwise."""
    result = subprocess.run(
        command, cwd=folder, env=environment() | variables, capture_output=True, text=True, timeout=1200
    )
    assert not check or result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result
