"""Fixtures that several test modules share."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

# Small tensors gain nothing from several threads, and tests beside each other lose much.
os.environ.setdefault("OMP_NUM_THREADS", "1")

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
    from pacavit.data import ade20k, coco, imagenet

    root = tmp_path_factory.mktemp("miniature")
    few = {"kind": "digits", "seed": 0, "train_images": 24, "val_images": 10}
    modules = {"imagenet": imagenet, "coco": coco, "ade20k": ade20k}
    for name, module in modules.items():
        prepare = {"shard_megabytes": 1} if name == "imagenet" else {"max_gigabytes": 1}
        source = SimpleNamespace(
            archives=params.DataPage.model_fields[name].annotation.model_validate(
                {"archives": few, "prepare": prepare}
            )
        ).archives
        given = SimpleNamespace(data=SimpleNamespace(**{name: source}))
        for step in ("archives", "prepare"):
            stage = stages.STAGES[f"{step}_{name}"]
            job = SimpleNamespace(
                params=given,
                stage=stage.name,
                names={},
                inputs={key: root / paths.path(p, scale="mini") for key, p in stage.inputs.items()},
                outputs={key: root / paths.path(p, scale="mini") for key, p in stage.outputs.items()},
            )
            getattr(module, step)(job)
    torch.manual_seed(0)
    weights = timm.create_model("test_pacavit", num_classes=10).state_dict()
    target = root / paths.path(paths.PRETRAINED, scale="mini", variant="test_pacavit", seed=0)
    target.parent.mkdir(parents=True)
    save_file({key: value.contiguous() for key, value in weights.items()}, target)
    return root
