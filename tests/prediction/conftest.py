"""Small models with random weights in files, and images from the miniature beside them."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

VARIANT = "test_pacavit"


@pytest.fixture
def predict(project):
    """A function that types ``pacavit predict``; it returns what was printed, or raises what the user is told."""
    from pacavit.cli import cli

    def typed(task, *arguments, weights="model.safetensors", to="found"):
        line = [task, *arguments, "--weights", weights, "--model", VARIANT, "--to", to]
        result = CliRunner().invoke(cli, ["predict", *map(str, line)], catch_exceptions=True)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return typed


@pytest.fixture
def results(project):
    """A function that returns the results of a folder."""
    return lambda folder="found": json.loads((project / folder / "predictions.json").read_text())


@pytest.fixture
def photos(create_job, project):
    """A function that fills the folder ``photos`` with validation images of a task, and returns their paths."""

    def fill(task, count=2):
        from pacavit.data.imagenet import ImageNetShards

        folder = project / "photos"
        folder.mkdir()
        data = project / f"data/mini/{task}"
        if task == "imagenet":
            shards = ImageNetShards(data, "val")
            for i in range(count):
                (folder / f"{i}.JPEG").write_bytes(shards.content(i))
        else:
            source = data / {"coco": "val2017", "ade20k": "images/validation"}[task]
            for path in sorted(source.glob("*.jpg"))[:count]:
                shutil.copy(path, folder)
        return sorted(folder.iterdir())

    return fill


@pytest.fixture
def model(create_job, project):
    """A function that writes ``model.safetensors`` of a task; it returns the model and a job of its evaluation."""

    def write(task, head=None):
        job = create_job(f"evaluate_{task}", head=head)
        torch.manual_seed(0)
        made = _MODELS[task](job).eval()
        save_file({k: v.contiguous() for k, v in made.state_dict().items()}, project / "model.safetensors")
        return SimpleNamespace(model=made, job=job)

    return write


def _classifier(job):
    import timm

    import pacavit.models  # noqa: F401, registers the variants

    return timm.create_model(VARIANT, num_classes=10)


def _detector(job):
    from pacavit.openmmlab import models

    encoder = models.backbone(VARIANT, None, 0.0)
    made = models.build(models.mask_rcnn(encoder, 10, job.params.coco.recipe.detector), "mmdet")
    made.init_weights()
    # Half of the objects are surely threes, and so found.
    made.roi_head.bbox_head.fc_cls.weight.data *= 100
    made.roi_head.bbox_head.fc_cls.bias.data[3] = 2.0
    return made


def _segmentor(job):
    from pacavit.data.manifest import read_manifest
    from pacavit.openmmlab import models

    classes = len(read_manifest(job.inputs["data"])["classes"])
    made = models.build(models.segmentor(job, classes, None, "BN"), "mmseg")
    made.init_weights()
    return made


_MODELS = {"imagenet": _classifier, "coco": _detector, "ade20k": _segmentor}
