"""Jobs on a few miniature images, as the stages make them."""

import shutil
from types import SimpleNamespace

import pytest
import timm
import torch
from safetensors.torch import save_file

import pacavit.data.ade20k
import pacavit.data.coco
import pacavit.data.imagenet
import pacavit.models
from pacavit import params, paths, stages
from pacavit.tracking import Run


@pytest.fixture(scope="session")
def miniature(tmp_path_factory):
    """A folder with 24 training and 10 validation images of each data set, and random pretrained weights."""
    root = tmp_path_factory.mktemp("miniature")
    few = {"kind": "digits", "seed": 0, "train_images": 24, "val_images": 10}
    modules = {"imagenet": pacavit.data.imagenet, "coco": pacavit.data.coco, "ade20k": pacavit.data.ade20k}
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


@pytest.fixture
def create_job(miniature, project):
    """A function that returns a job of a stage; keywords replace values of the stage's recipe."""
    shutil.copytree(miniature, project, dirs_exist_ok=True)
    given = params.load("mini")

    def create(stage, work="work", head=None, **changed):
        page = {"evaluate_imagenet": "pretrain"}.get(stage, stage.removeprefix("evaluate_"))
        whole = getattr(given, page)
        recipe = whole.recipe.model_copy(update={**_SHORT[page], **changed})
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


_BATCH = {"global_batch": 4, "micro_batch": 2, "warmup_updates": 2, "log_updates": 2, "checkpoint_updates": 2}
_SHORT = {
    "pretrain": {
        "image_size": 32,
        "epochs": 2,
        "warmup_epochs": 1,
        "global_batch": 8,
        "micro_batch": 4,
        "checkpoint_updates": 2,
    },
    "coco": {**_BATCH, "epochs": 1, "drop_epochs": [], "validate_epochs": 1},
    "ade20k": {**_BATCH, "updates": 5, "validate_updates": 5},
}
