"""Fixtures that several test modules share."""

import contextlib
import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from clones import environment, numbers, small_clone, typed
from jobs import describe, with_archives
from pages import SHORT

# Small tensors gain nothing from several threads, and tests beside each other lose much.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where Snakemake gives a job two cores that others use as well, its threads wait for each other without a core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Nor does preparing a few images, each process of which starts anew.
os.environ.setdefault("PACAVIT_WORKERS", "1")

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items):
    """What takes longest in one piece comes first."""
    items.sort(key=lambda item: item.path.parent.name != "slurm")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """One process more than cores, since the tests of Slurm wait most of their time; at most five."""
    return min(os.cpu_count() + 1, 5)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Let one process run what shares something costly, if several share the tests."""
    from scheduling import Scheduling

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_terminal_summary(terminalreporter):
    """End with a line for each reason to leave tests out, which says what would bring them in."""
    reasons = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", []))
    for reason, count in sorted(reasons.items()):
        terminalreporter.line(
            f"left out: {count} of the tests, {reason.removeprefix('Skipped: ')}", yellow=True
        )


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder that is the current one and holds the parameters of this checkout, and nothing else."""
    shutil.copytree(ROOT / "params", tmp_path / "params", dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PACAVIT_TRACKING", "off")
    return tmp_path


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """A function that lets the first process of a test session fill a folder; the others wait for it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def provide(name, fill):
        folder, filled = shared / name, shared / f"{name}.filled"
        with FileLock(shared / f"{name}.lock"):
            if not filled.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                filled.touch()
        return folder

    return provide


@pytest.fixture(scope="session")
def small_run(once):
    """A small clone in which Snakemake has run once, the numbers that it measured, and the files that it opened."""

    def run(folder):
        clone = small_clone(folder / "pro ject")
        (folder / "opened").mkdir()
        command = folder / "bin" / "pacavit"
        command.parent.mkdir()
        audited = Path(__file__).with_name("audited_pacavit.py")
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{audited}" "$@"\n')
        command.chmod(0o755)
        path = os.pathsep.join([str(command.parent), environment()["PATH"]])
        typed(clone, "snakemake", "--cores", "2", PATH=path, AUDITED=str(folder / "opened"))
        (folder / "numbers.json").write_text(json.dumps(numbers(clone)))

    folder = once("small run", run)
    return SimpleNamespace(
        folder=folder / "pro ject",
        numbers=json.loads((folder / "numbers.json").read_text()),
        opened={path.stem: set(path.read_text().splitlines()) for path in (folder / "opened").iterdir()},
    )


@pytest.fixture(scope="session")
def miniature(tmp_path_factory):
    """A folder with 24 training and 10 validation images of each data set, and random pretrained weights."""
    import timm
    import torch
    from safetensors.torch import save_file

    import pacavit.models  # noqa: F401, registers the variants
    from pacavit import params
    from pacavit.data import ade20k, coco, imagenet, sources
    from pacavit.pipeline import targets

    root = tmp_path_factory.mktemp("miniature")
    given = params.load("mini")
    few = {"kind": "digits", "seed": 0, "train_images": 24, "val_images": 10}
    with contextlib.chdir(root):
        for name, module in {"imagenet": imagenet, "coco": coco, "ade20k": ade20k}.items():
            fewer = with_archives(given, name, few)
            sources.provide(describe(f"archives_{name}", fewer))
            module.prepare(describe(f"prepare_{name}", fewer))
    torch.manual_seed(0)
    weights = timm.create_model("test_pacavit", num_classes=10).state_dict()
    target = root / targets.path("pretrain.weights", "mini", variant="test_pacavit", seed=0)
    target.parent.mkdir(parents=True)
    save_file({key: value.contiguous() for key, value in weights.items()}, target)
    return root


@pytest.fixture
def create_job(miniature, project):
    """A function that returns a job of a stage; keywords replace values of the stage's recipe."""
    from pacavit import params

    shutil.copytree(miniature, project, dirs_exist_ok=True)
    given = params.load("mini")

    def create(stage, work="work", head=None, **changed):
        others = {"evaluate_imagenet": "pretrain", "clusters": "ade20k"}
        page = others.get(stage, stage.removeprefix("evaluate_"))
        whole = getattr(given, page)
        recipe = whole.recipe.model_copy(update={**SHORT[page], **changed})
        pages = {**vars(given), page: whole.model_copy(update={"recipe": recipe})}
        names = {"variant": "test_pacavit", **({"head": head} if head else {}), "seed": 0}
        return describe(stage, params.Params(**pages), work=project / work, names=names)

    return create
