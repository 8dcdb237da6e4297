"""One optimiser step of each task at the paper's settings: tiny, real input sizes, a batch of 2."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_sample_images

from jobs import describe
from optimizers import options_by_name
from pacavit import params
from pacavit.data import ade20k as ade20k_data
from pacavit.data import coco as coco_data
from pacavit.data import imagenet as imagenet_data
from pacavit.data import sources
from pacavit.job import Job
from pacavit.openmmlab.models import scoped
from pacavit.pipeline import targets
from pacavit.runtime.interruption import Interruption
from pacavit.training import ade20k, coco, pretrain
from pacavit.training.finetuning import DenseTraining

TINY = "pacavit_tiny_p2cconv_100_0"
DEVICE = torch.device("cpu")

#: What is less than at paper scale: the number of images and updates, and so no warm-up.
_SHORT = {
    "pretrain": {"epochs": 1, "warmup_epochs": 0, "global_batch": 2, "micro_batch": 2, "workers": 0},
    "coco": {"epochs": 1, "drop_epochs": [], "warmup_updates": 0, "global_batch": 2, "workers": 0},
    "ade20k": {"updates": 1, "warmup_updates": 0, "global_batch": 2, "workers": 0},
}


def write_photos(root: Path) -> dict[str, dict]:
    """Write two photos of 640 x 427 in the form of each task, for training and validation; return the sources."""
    photos = load_sample_images().images
    boxes = [[100, 60, 300, 260], [320, 120, 200, 220]]
    for split in ("train", "val"):
        content = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        }
        for i, pixels in enumerate(photos):
            for folder in (
                root / "classes" / split / "ab"[i],
                root / "images" / split,
                root / "labels" / split,
            ):
                folder.mkdir(parents=True, exist_ok=True)
            for folder in (root / "classes" / split / "ab"[i], root / "images" / split):
                Image.fromarray(pixels).save(folder / f"{i}.jpg")
            labels = np.ones(pixels.shape[:2], np.uint8)
            labels[100:300, 200:400] = 2
            Image.fromarray(labels).save(root / "labels" / split / f"{i}.png")
            height, width = labels.shape
            content["images"].append({"id": i, "file_name": f"{i}.jpg", "width": width, "height": height})
            for x, y, w, h in boxes:
                outline = [x, y, x + w, y, x + w, y + h, x, y + h]
                number = len(content["annotations"]) + 1
                content["annotations"].append(
                    {
                        "id": number,
                        "image_id": i,
                        "category_id": 1 + i,
                        "bbox": [x, y, w, h],
                        "segmentation": [outline],
                    }
                )
        (root / f"{split}.json").write_text(json.dumps(content))
    where = {split: {"images": f"{root}/images/{split}"} for split in ("train", "val")}
    return {
        "imagenet": {"kind": "folder", "directory": f"{root}/classes"},
        "coco": {
            "kind": "folder",
            **{split: {**where[split], "annotations": f"{root}/{split}.json"} for split in where},
        },
        "ade20k": {
            "kind": "folder",
            "classes": ["ground", "thing"],
            **{split: {**where[split], "labels": f"{root}/labels/{split}"} for split in where},
        },
    }


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """The sources of the photos, and a folder in which they are prepared at the scale `paper`."""
    root = tmp_path_factory.mktemp("photos")
    return root, write_photos(root / "own")


@pytest.fixture
def paper_job(project, photos):
    """A function that returns a job at the paper's settings on two photos, whose data it prepares."""
    given = params.load("paper")
    page = json.loads(given.data.model_dump_json())
    for dataset, source in photos[1].items():
        page[dataset]["archives"] = source
        page[dataset]["prepare"]["complete"] = False
    pages = {**vars(given), "data": params.DataPage.model_validate(page)}
    for task, short in _SHORT.items():
        whole = pages[task]
        pages[task] = whole.model_copy(update={"recipe": whole.recipe.model_copy(update=short)})

    def create(stage: str, **names) -> Job:
        return describe(stage, params.Params(**pages), "paper", project / "work" / stage, names)

    for dataset, module in {"imagenet": imagenet_data, "coco": coco_data, "ade20k": ade20k_data}.items():
        sources.provide(create(f"archives_{dataset}"))
        module.prepare(create(f"prepare_{dataset}"))
    torch.manual_seed(0)
    target = targets.path("pretrain.weights", "paper", variant=TINY, seed=42)
    target.parent.mkdir(parents=True)
    save_file(timm.create_model(TINY, num_classes=2).state_dict(), target)
    return create


def check_first_step(before, after, groups) -> int:
    """Check that AdamW's first step moved each parameter by its own rate, after decaying it; return how many moved.

    Where the gradient is far above eps, the first step is the rate times its sign. A bias on which the output does not
    depend has none, and may move less.
    """
    moved = 0
    for name, (rate, decay) in groups.items():
        step = (after[name] - before[name] * (1 - rate * decay)).abs().max().item()
        assert step <= rate * 1.01 + 1e-7, name
        moved += step > 0.5 * rate
    return moved


@pytest.mark.slow
def test_pretraining_at_224_pixels_with_all_augmentation(paper_job):
    job = paper_job("pretrain", variant=TINY, seed=42)
    recipe, variant = job.params.pretrain.recipe, job.params.pretrain.variants[TINY]
    model = pretrain.create_model(job, 2, variant.drop_path)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    options = options_by_name(model, pretrain.create_optimizer(recipe, model))
    groups = {name: (recipe.lr, group["weight_decay"]) for name, group in options.items()}
    pretrain.pretrain(job)
    after = load_file(job.outputs["weights"])
    assert check_first_step(before, after, groups) > 0.95 * len(groups)


def fine_tune(job, task) -> tuple[dict, dict, dict]:
    with scoped(task.scope):
        training = DenseTraining(job, task, DEVICE)
        before = {name: p.detach().clone() for name, p in training.model.named_parameters()}
        training.run(Interruption())
    options = options_by_name(training.model, training.optimizer)
    groups = {
        name: (group.get("initial_lr", group["lr"]), group["weight_decay"]) for name, group in options.items()
    }
    return before, dict(training.model.named_parameters()), groups


@pytest.mark.slow
def test_mask_rcnn_at_800_by_1333_pixels(paper_job):
    job = paper_job("coco", variant=TINY, seed=42)
    before, after, groups = fine_tune(job, coco.describe(job))
    assert {rate for rate, _ in groups.values()} == {job.params.coco.recipe.lr}
    assert check_first_step(before, after, groups) > 0.9 * len(groups)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["paca", "upernet"])
def test_segmentation_at_512_pixels(paper_job, head):
    job = paper_job("ade20k", variant=TINY, head=head, seed=42)
    before, after, groups = fine_tune(job, ade20k.describe(job, "BN"))
    lr = job.params.ade20k.recipe.lr
    assert {rate for rate, _ in groups.values()} == ({lr, 10 * lr} if head == "paca" else {lr})
    assert check_first_step(before, after, groups) > 0.9 * len(groups)
