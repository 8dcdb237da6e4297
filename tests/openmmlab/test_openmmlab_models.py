"""The dense models: their libraries' standard parts, and training and testing passes of small ones."""

from pathlib import Path

import mmdet
import mmseg
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from torchvision.ops import box_iou

from pacavit.openmmlab import models
from pacavit.params.ade20k import FpnParams, UperNetParams
from pacavit.params.coco import DetectorParams
from pacavit.tasks import HEADS
from small_models import SMALL_DETECTOR, SMALL_FPN, SMALL_PACA, SMALL_UPERNET

VARIANT = "test_pacavit"
DETECTOR = DetectorParams(
    channels=256,
    anchor_scale=8.0,
    fc_channels=1024,
    mask_convs=4,
    train_proposals=1000,
    test_proposals=1000,
    detections=100,
    rpn_samples=256,
    roi_samples=512,
)
UPERNET = UperNetParams(channels=512, auxiliary_channels=256)


def detector():
    return models.build(models.mask_rcnn(models.backbone(VARIANT, None, 0.1), 10, SMALL_DETECTOR), "mmdet")


def segmentor(head, num_clusters=None):
    encoder = models.backbone(VARIANT, None, 0.1, num_clusters)
    options = {"paca": SMALL_PACA, "upernet": SMALL_UPERNET, "fpn": SMALL_FPN}[head]
    return models.build(models.SEGMENTORS[head](encoder, 6, options, 64, "BN"), "mmseg")


def without_weights(config):
    """Drop what only says where weights come from."""
    if isinstance(config, dict):
        return {
            key: without_weights(value)
            for key, value in config.items()
            if key not in ("init_cfg", "pretrained")
        }
    return [without_weights(v) for v in config] if isinstance(config, (list, tuple)) else config


def test_mask_rcnn_is_mmdetections_but_for_the_encoder():
    base = Path(mmdet.__file__).parent / ".mim/configs/_base_/models/mask-rcnn_r50_fpn.py"
    theirs = without_weights(Config.fromfile(base).model.to_dict())
    ours = without_weights(models.mask_rcnn(models.backbone(VARIANT, None, 0.1), 80, DETECTOR))
    assert ours.pop("backbone") == {
        "type": "PaCaViTBackbone",
        "variant": VARIANT,
        "checkpoint": None,
        "drop_path_rate": 0.1,
    }
    theirs.pop("backbone")
    theirs["neck"]["in_channels"] = [32, 64, 96, 128]
    theirs["data_preprocessor"].pop("mask_pad_value", None)
    theirs["roi_head"]["bbox_roi_extractor"]["type"] = "FullPrecisionRoIExtractor"
    theirs["roi_head"]["mask_roi_extractor"]["type"] = "FullPrecisionRoIExtractor"
    assert ours == theirs


def test_upernet_is_mmsegmentations_but_for_the_encoder():
    base = Path(mmseg.__file__).parent / ".mim/configs/_base_/models/upernet_r50.py"
    theirs = without_weights(Config.fromfile(base).model.to_dict())
    ours = without_weights(models.upernet(models.backbone(VARIANT, None, 0.1), 150, UPERNET, 512, "SyncBN"))
    for head, channels in (("decode_head", [32, 64, 96, 128]), ("auxiliary_head", 96)):
        theirs[head].update(num_classes=150, in_channels=channels)
        assert ours[head]["loss_decode"].pop("avg_non_ignore") is False
        assert ours[head] == theirs[head]
    assert ours["test_cfg"] == theirs["test_cfg"]


def test_semantic_fpn_is_mmsegmentations_but_for_the_encoder():
    base = Path(mmseg.__file__).parent / ".mim/configs/_base_/models/fpn_r50.py"
    theirs = without_weights(Config.fromfile(base).model.to_dict())
    options = FpnParams(channels=128, neck_channels=256)
    ours = without_weights(
        models.semantic_fpn(models.backbone(VARIANT, None, 0.1), 150, options, 512, "SyncBN")
    )
    theirs["decode_head"]["num_classes"], theirs["neck"]["in_channels"] = 150, [32, 64, 96, 128]
    assert ours["decode_head"]["loss_decode"].pop("avg_non_ignore") is False
    for part in ("neck", "decode_head", "test_cfg"):
        assert ours[part] == theirs[part]


@pytest.fixture
def scenes():
    """Two images of different sizes, the second without objects."""
    torch.manual_seed(0)
    samples = []
    for height, width, boxes in ((96, 128, [[10.0, 12, 50, 60], [70, 20, 110, 80]]), (64, 96, [])):
        masks = np.zeros((len(boxes), height, width), dtype=np.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
            mask[int(y1) : int(y2), int(x1) : int(x2)] = 1
        objects = InstanceData(
            bboxes=torch.tensor(boxes).reshape(-1, 4),
            labels=torch.arange(len(boxes)),
            masks=BitmapMasks(masks, height, width),
        )
        size = (height, width)
        meta = {"img_shape": size, "ori_shape": size, "scale_factor": (1.0, 1.0), "img_id": len(samples)}
        samples.append(DetDataSample(metainfo=meta, gt_instances=objects))
    images = [torch.randint(0, 256, (3, *sample.img_shape), dtype=torch.uint8) for sample in samples]
    return {"inputs": images, "data_samples": samples}


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_mask_rcnn_trains(scenes, dtype):
    model = detector().train()
    data = model.data_preprocessor(scenes, training=True)
    assert data["inputs"].shape == (2, 3, 96, 128)
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        total, logged = model.parse_losses(model(**data, mode="loss"))
    assert {"loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox", "loss_mask"} <= logged.keys()
    total.backward()
    assert total.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    trained = [name for name, p in model.backbone.named_parameters() if p.grad.abs().sum() == 0]
    assert trained == []


@pytest.mark.slow
def test_mask_rcnn_finds_what_it_learnt(scenes):
    """A few updates on two boxes are enough to find them, with masks at the size of the original image."""
    torch.manual_seed(0)
    model = detector()
    model.init_weights()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    model.train()
    for _ in range(80):
        losses = model(**model.data_preprocessor(scenes, training=True), mode="loss")
        optimizer.zero_grad()
        model.parse_losses(losses)[0].backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        found = model(**model.data_preprocessor(scenes), mode="predict")
    objects = found[0].pred_instances
    assert objects.masks.shape == (len(objects), 96, 128)
    truth = found[0].gt_instances
    for label in range(2):
        best = objects[objects.labels == label][0]
        assert best.scores > 0.5
        assert box_iou(best.bboxes, truth.bboxes[label][None]).item() > 0.7
        mask, expected = best.masks[0].numpy(), truth.masks.masks[label].astype(bool)
        assert (mask & expected).sum() / (mask | expected).sum() > 0.6


@pytest.fixture
def labelled():
    torch.manual_seed(0)
    images = [
        torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8),
        torch.randint(0, 256, (3, 50, 64), dtype=torch.uint8),
    ]
    samples = []
    for image in images:
        labels = torch.randint(0, 6, (1, *image.shape[1:]))
        labels[:, :8] = models.IGNORED
        sample = SegDataSample(metainfo={"img_shape": image.shape[1:], "ori_shape": image.shape[1:]})
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    return {"inputs": images, "data_samples": samples}


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize(
    ("head", "names"),
    [
        ("paca", {"decode.loss_ce", "decode.loss_clusters"}),
        ("upernet", {"decode.loss_ce", "aux.loss_ce"}),
        ("fpn", {"decode.loss_ce"}),
    ],
)
def test_segmentors_train(labelled, head, names, dtype):
    model = segmentor(head, num_clusters=[12, 12, 12, 0]).train()
    data = model.data_preprocessor(labelled, training=True)
    assert data["inputs"].shape == (2, 3, 64, 64)
    assert (data["data_samples"][1].gt_sem_seg.data[0, 50:] == models.IGNORED).all()
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        total, logged = model.parse_losses(model(**data, mode="loss"))
    assert {name for name in logged if "loss_" in name} == names
    total.backward()
    assert total.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("head", HEADS)
def test_segmentors_predict_at_the_size_of_the_image(labelled, head):
    model = segmentor(head).eval()
    one = {name: values[1:] for name, values in labelled.items()}
    with torch.no_grad():
        predicted = model(**model.data_preprocessor(one), mode="predict")[0]
    assert predicted.seg_logits.data.shape == (6, 50, 64)
    assert torch.equal(predicted.pred_sem_seg.data[0], predicted.seg_logits.data.argmax(dim=0))


def test_images_are_turned_to_rgb_and_normalised():
    model = segmentor("paca")
    blue = torch.zeros(3, 64, 64, dtype=torch.uint8)
    blue[0] = 255  # images are read as BGR
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, 64, 64)))
    batch = {"inputs": [blue], "data_samples": [sample]}
    pixel = model.data_preprocessor(batch, training=True)["inputs"][0, :, 0, 0]
    expected = (torch.tensor([0.0, 0.0, 255.0]) - torch.tensor(models.MEAN)) / torch.tensor(models.STD)
    torch.testing.assert_close(pixel, expected)


def test_detectors_and_segmentors_are_built_in_turn_and_leave_no_default_scope():
    before = DefaultScope.get_current_instance()
    built = [detector(), segmentor("upernet"), detector(), segmentor("paca")]
    packages = [type(model).__module__.split(".")[0] for model in built]
    assert packages == ["mmdet", "mmseg", "mmdet", "mmseg"]
    assert DefaultScope.get_current_instance() is before


def test_bf16_keeps_regions_to_the_pixel():
    """Features of a region far from the origin, where bf16 holds coordinates to 4 pixels only."""
    extractor = detector().roi_head.bbox_roi_extractor
    maps = tuple(torch.randn(1, 32, 320 >> i, 320 >> i) for i in range(4))
    region = torch.tensor([[0, 1001.0, 1003.0, 1017.0, 1021.0]])
    expected = extractor(maps, region)
    low = extractor(tuple(m.bfloat16() for m in maps), region)
    torch.testing.assert_close(low, expected, atol=0.03, rtol=0.03)
