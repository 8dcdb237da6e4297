"""The blocks of docs/openmmlab.md run as they are written."""

import importlib
import re
from pathlib import Path

import pytest
import timm
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from pacavit.models import variant_config

PAGE = Path(__file__).resolve().parents[2] / "docs/openmmlab.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
NAMED = {match[1]: block for block in BLOCKS if (match := re.match(r"# (\w+\.py)\n", block))}
VARIANT = "pacavit_tiny_p2cconv_100_0"
WEIGHTS = f"IMNET_224_{VARIANT}.pth"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with the page's files, and with weights of the form that the authors released."""
    folder = tmp_path_factory.mktemp("page")
    for name, block in NAMED.items():
        (folder / name).write_text(block)
    torch.manual_seed(0)
    state = timm.create_model(VARIANT, num_classes=1000).state_dict()
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, folder / WEIGHTS)
    return folder


@pytest.fixture
def weights(files, monkeypatch):
    """The weights of the file, in whose folder the test runs."""
    monkeypatch.chdir(files)
    saved = torch.load(WEIGHTS, weights_only=True)["state_dict"]
    return {key.removeprefix("module."): value for key, value in saved.items()}


def built(name, scope):
    """The model of a configuration, initialised as mmengine's runner does."""
    config = Config.fromfile(name)
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(config.model)
    model.init_weights()
    return model.train()


def has(backbone, weights):
    state = backbone.state_dict()
    return {
        key
        for key in state
        if state[key].shape == weights[key].shape and torch.equal(state[key], weights[key])
    }


def loss(model, scope, sample):
    """The sum of the losses of one image."""
    batch = {"inputs": [torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)], "data_samples": [sample]}
    with DefaultScope.overwrite_default_scope(scope):
        losses = model(**model.data_preprocessor(batch, training=True), mode="loss")
        return model.parse_losses(losses)[0]


@pytest.mark.parametrize(
    ("name", "channels"), [("detr_pacavit.py", [384]), ("retinanet_pacavit.py", [192, 320, 384])]
)
def test_a_detector_trains_from_the_files_weights(name, channels, weights):
    model = built(name, "mmdet")
    assert has(model.backbone, weights) == set(model.backbone.state_dict())
    assert [m.shape[1] for m in model.backbone(torch.randn(1, 3, 64, 64))] == channels
    objects = InstanceData(bboxes=torch.tensor([[8.0, 8.0, 40.0, 50.0]]), labels=torch.tensor([3]))
    shape = {"img_shape": (64, 96), "ori_shape": (64, 96), "batch_input_shape": (64, 96)}
    sample = DetDataSample(gt_instances=objects, metainfo={**shape, "scale_factor": (1.0, 1.0)})
    loss(model, "mmdet", sample).backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    frozen = {key.split(".")[0] for key, p in model.backbone.named_parameters() if not p.requires_grad}
    assert frozen == ({"patch_embed", "stage1", "norm1"} if "retinanet" in name else set())


def test_a_segmentor_trains_with_two_losses_from_the_files_weights(weights):
    model = built("segmentor_pacavit.py", "mmseg")
    anew = set(model.backbone.state_dict()) - has(model.backbone, weights)
    assert anew == {f"stage{i}.0.attn.clustering.clustering.4.weight" for i in (1, 2, 3)}
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 19, (1, 64, 96))))
    loss(model, "mmseg", sample).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_a_classifier_of_other_classes_takes_the_weights(weights):
    names = {}
    exec(compile(NAMED["classifier.py"], "classifier.py", "exec"), names)
    state = names["model"].state_dict()
    assert all(torch.equal(state[key], weights[key]) for key in state if not key.startswith("head."))
    assert state["head.weight"].shape == (10, 384)


def test_the_runner_takes_the_configuration(weights, monkeypatch):
    # The runner leaves its scope to the process.
    monkeypatch.setattr(DefaultScope, "_instance_dict", DefaultScope._instance_dict.copy())
    names = {}
    exec(compile(NAMED["train.py"], "train.py", "exec"), names)
    assert names["runner"].cfg.model.backbone.type == "PaCaViTBackbone"


def test_the_first_two_blocks_are_backbones(weights):
    for block in BLOCKS[:2]:
        names = {}
        exec(compile(block, "block", "exec"), names)
        for module in names.get("custom_imports", {}).get("imports", ()):
            importlib.import_module(module)
        assert len(MODELS.build(names["backbone"])(torch.randn(1, 3, 32, 32))) == 4
    assert len(BLOCKS) == len(NAMED) + 2


def test_the_widths_are_those_of_the_variants():
    text = PAGE.read_text()
    for size in ("tiny", "small", "base"):
        *first, last = variant_config(f"pacavit_{size}_p2cconv_100_0")["embed_dims"]
        assert f"{', '.join(map(str, first))} and {last}" in text
