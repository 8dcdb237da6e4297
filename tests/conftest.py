"""Fixtures that several test modules share."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from clones import numbers, small_clone, typed
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
    shutil.copytree(ROOT / "params", tmp_path / "params")
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
    """A small clone in which Snakemake has run once, and the numbers that it measured."""

    def run(folder):
        clone = small_clone(folder / "pro ject")
        typed(clone, "snakemake", "--cores", "2")
        (folder / "numbers.json").write_text(json.dumps(numbers(clone)))

    folder = once("small run", run)
    return SimpleNamespace(
        folder=folder / "pro ject", numbers=json.loads((folder / "numbers.json").read_text())
    )


@pytest.fixture(scope="session")
def miniature(tmp_path_factory):
    """A folder with 24 training and 10 validation images of each data set, and random pretrained weights."""
    import timm
    import torch
    from safetensors.torch import save_file

    import pacavit.models  # noqa: F401, registers the variants
    from pacavit import params, paths, stages
    from pacavit.data import ade20k, coco, imagenet, sources

    root = tmp_path_factory.mktemp("miniature")
    few = {"kind": "digits", "seed": 0, "train_images": 24, "val_images": 10}
    page = json.loads(params.load("mini").data.model_dump_json())
    for name in stages.DATASETS:
        page[name]["archives"] = few
    given = SimpleNamespace(data=params.DataPage.model_validate(page))
    for name, module in {"imagenet": imagenet, "coco": coco, "ade20k": ade20k}.items():
        for step, function in (("archives", sources.provide), ("prepare", module.prepare)):
            stage = stages.STAGES[f"{step}_{name}"]
            function(
                SimpleNamespace(
                    params=given,
                    scale="mini",
                    stage=stage.name,
                    names={},
                    fingerprint="test",
                    work=root / "work",
                    inputs={key: root / paths.path(p, scale="mini") for key, p in stage.inputs.items()},
                    outputs={key: root / paths.path(p, scale="mini") for key, p in stage.outputs.items()},
                )
            )
    torch.manual_seed(0)
    weights = timm.create_model("test_pacavit", num_classes=10).state_dict()
    target = root / paths.path(paths.PRETRAINED, scale="mini", variant="test_pacavit", seed=0)
    target.parent.mkdir(parents=True)
    save_file({key: value.contiguous() for key, value in weights.items()}, target)
    return root


@pytest.fixture
def create_job(miniature, project):
    """A function that returns a job of a stage; keywords replace values of the stage's recipe."""
    from pacavit import params, paths, stages
    from pacavit.tracking import Run

    shutil.copytree(miniature, project, dirs_exist_ok=True)
    given = params.load("mini")

    def create(stage, work="work", head=None, **changed):
        others = {"evaluate_imagenet": "pretrain", "clusters": "ade20k"}
        page = others.get(stage, stage.removeprefix("evaluate_"))
        whole = getattr(given, page)
        recipe = whole.recipe.model_copy(update={**SHORT[page], **changed})
        pages = {**vars(given), page: whole.model_copy(update={"recipe": recipe})}
        names = {"variant": "test_pacavit", "seed": 0} | ({"head": head} if head else {})
        spec = stages.STAGES[stage]
        return stages.Job(
            stage=stage,
            scale="mini",
            names=names,
            params=params.Params(**pages),
            inputs={key: paths.path(p, scale="mini", **names) for key, p in spec.inputs.items()},
            outputs={key: paths.path(p, scale="mini", **names) for key, p in spec.outputs.items()},
            fingerprint="test",
            work=project / work,
            run=Run(project / work),
        )

    return create
