"""Fixtures that several test modules share."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

# Small tensors gain nothing from several threads, and tests beside each other lose much.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nor does preparing a few images, each process of which starts anew.
os.environ.setdefault("PACAVIT_WORKERS", "1")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder that is the current one and holds the parameters of this checkout, and nothing else."""
    shutil.copytree(ROOT / "params", tmp_path / "params")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PACAVIT_TRACKING", "off")
    return tmp_path


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
