"""What the dense models compute on a GPU against the CPU: operators, and grids of images of 1333 × 800."""

import mmcv.ops
import pytest
import torch
from gpu_helpers import autocast, farthest, relative
from mmengine.config import ConfigDict

from pacavit.openmmlab import models
from pacavit.params.ade20k import PacaHeadParams, UperNetParams
from small_models import SMALL_DETECTOR

pytestmark = pytest.mark.gpu

CPU = torch.device("cpu")
VARIANT = "test_pacavit"
HEIGHT, WIDTH = 800, 1333
STRIDES = (4, 8, 16, 32)
DETECTOR = SMALL_DETECTOR.model_copy(
    update={"anchor_scale": 8.0, "train_proposals": 256, "test_proposals": 256}
)


def boxes(count: int, seed: int = 0) -> torch.Tensor:
    """Return boxes (count, 4) anywhere in the image and of any size, the last ones in its far corner."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([WIDTH, HEIGHT])
    corner = torch.rand(count, 2, generator=generator) * size * 0.9
    extent = torch.rand(count, 2, generator=generator) ** 3 * (size - corner)
    found = torch.cat([corner, corner + extent + 1], dim=1)
    found[-2:] = torch.tensor([[1301.0, 771, 1317, 789], [1000.5, 600.25, 1333, 800]])
    return found


def regions(count: int) -> torch.Tensor:
    """Return boxes with the number of their image, of two, before them: (count, 5)."""
    return torch.cat([torch.arange(count)[:, None] % 2.0, boxes(count)], dim=1)


def maps(channels: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Return a pyramid of two padded images, (2, channels, H, W) at each stride."""
    generator = torch.Generator().manual_seed(1)
    sizes = [(-(-HEIGHT // 32) * 32 // s, -(-WIDTH // 32) * 32 // s) for s in STRIDES]
    return [torch.randn(2, channels, *size, generator=generator).to(dtype) for size in sizes]


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_nms_keeps_the_same_boxes(device, threshold, offset):
    scores = torch.rand(4000, generator=torch.Generator().manual_seed(2))
    expected = mmcv.ops.nms(boxes(4000), scores, threshold, offset=offset)
    found = mmcv.ops.nms(boxes(4000).to(device), scores.to(device), threshold, offset=offset)
    assert 0 < len(expected[1]) < 4000
    assert torch.equal(found[1].cpu(), expected[1])
    assert torch.equal(found[0].cpu(), expected[0])


def test_nms_by_class_keeps_the_same_boxes(device):
    scores, labels = torch.rand(4000, generator=torch.Generator().manual_seed(2)), torch.arange(4000) % 80
    config = {"type": "nms", "iou_threshold": 0.5}
    expected = mmcv.ops.batched_nms(boxes(4000), scores, labels, config)
    given = (x.to(device) for x in (boxes(4000), scores, labels))
    found = mmcv.ops.batched_nms(*given, config)
    assert torch.equal(found[1].cpu(), expected[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [7, 14])
def test_roi_align_and_its_gradient_in_single_precision(device, size, dtype, record_property):
    """Of maps in any precision: what is lost is the rounding of the result, not coordinates."""
    rounded = maps(8)[0].to(dtype)
    on_cpu = rounded.float().clone().requires_grad_()
    on_gpu = rounded.to(device).clone().requires_grad_()
    expected = mmcv.ops.roi_align(on_cpu, regions(64), size, 1 / 4, 0, "avg", True)
    found = mmcv.ops.roi_align(on_gpu, regions(64).to(device), size, 1 / 4, 0, "avg", True)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(3)).to(dtype)
    (expected * weights.float()).sum().backward()
    (found * weights.to(device)).sum().backward()
    limit = {torch.float32: 1e-4, torch.bfloat16: 4e-3, torch.float16: 5e-4}[dtype]
    errors = relative(found, expected), relative(on_gpu.grad, on_cpu.grad)
    record_property("output and gradient", "{:.2g} {:.2g}".format(*errors))
    assert max(errors) <= limit


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_features_of_regions_keep_their_place_in_half_precision(device, precision, record_property):
    """bf16 holds coordinates of a thousand pixels to four only."""
    detector = models.build(models.mask_rcnn(models.backbone(VARIANT, None, 0.0), 80, DETECTOR), "mmdet")
    extractor = detector.roi_head.bbox_roi_extractor
    given = maps(32)
    expected = extractor(tuple(given), regions(64))
    with autocast(device, precision):
        low = [m.to(device) if precision == "fp32" else _rounded(m, precision, device) for m in given]
        found = extractor.to(device)(tuple(low), regions(64).to(device))
    error = relative(found, expected)
    record_property("relative error", f"{error:.2g}")
    assert error <= {"fp32": 1e-5, "bf16": 4e-3, "fp16": 5e-4}[precision]


def _rounded(x: torch.Tensor, precision: str, device: torch.device) -> torch.Tensor:
    return x.to(device, {"bf16": torch.bfloat16, "fp16": torch.float16}[precision])


def test_anchors_are_the_same(device):
    detector = models.build(models.mask_rcnn(models.backbone(VARIANT, None, 0.0), 80, DETECTOR), "mmdet")
    sizes = [m.shape[2:] for m in maps(1)]
    priors = detector.rpn_head.prior_generator
    for found, expected in zip(
        priors.grid_priors([*sizes, (13, 21)], device=device),
        priors.grid_priors([*sizes, (13, 21)], device=CPU),
        strict=True,
    ):
        assert torch.equal(found.cpu(), expected)


@pytest.mark.parametrize("width", [WIDTH, 1344])
@torch.inference_mode()
def test_maps_of_the_backbone_at_the_size_of_detection(device, width, record_property):
    """As the image is, where grids round up, and padded to multiples of 32, as training has it."""
    torch.manual_seed(0)
    encoder = models.build(models.backbone("pacavit_tiny_p2cconv_100_0", None, 0.0), "mmdet").eval()
    image = torch.randn(1, 3, HEIGHT, width)
    expected = encoder(image)
    found = encoder.to(device)(image.to(device))
    assert [tuple(m.shape[2:]) for m in found] == [(-(-HEIGHT // s), -(-width // s)) for s in STRIDES]
    errors = [relative(a, b) for a, b in zip(found, expected, strict=True)]
    record_property("relative error by stage", " ".join(f"{e:.2g}" for e in errors))
    assert max(errors) <= 1e-4


@torch.inference_mode()
def test_what_mask_rcnn_proposes_at_the_size_of_detection(device, record_property):
    """Scores and offsets of all anchors, before any choice among them."""
    torch.manual_seed(0)
    detector = models.build(models.mask_rcnn(models.backbone(VARIANT, None, 0.0), 80, DETECTOR), "mmdet")
    detector.eval()
    image = torch.randn(1, 3, HEIGHT, 1344)
    expected = detector.rpn_head(detector.extract_feat(image))
    detector.to(device)
    found = detector.rpn_head(detector.extract_feat(image.to(device)))
    errors = [
        relative(a, b) for kind in zip(found, expected, strict=True) for a, b in zip(*kind, strict=True)
    ]
    record_property("largest relative error", f"{max(errors):.2g}")
    assert max(errors) <= 1e-4


@pytest.mark.parametrize("head", ["paca", "upernet"])
@torch.inference_mode()
def test_logits_of_the_segmentors(device, head, record_property):
    torch.manual_seed(0)
    encoder = models.backbone(VARIANT, None, 0.0)
    if head == "paca":
        options = PacaHeadParams(channels=64, cluster_loss_weight=0.4, lr_multiplier=1.0, multiplied="meant")
        config = models.paca_segmentor(encoder, 150, options, 512, "BN")
    else:
        config = models.upernet(encoder, 150, UperNetParams(channels=64, auxiliary_channels=32), 512, "BN")
    model = models.build(config, "mmseg").eval()
    image = torch.randn(1, 3, 512, 512)
    expected = model(image, mode="tensor")
    found = model.to(device)(image.to(device), mode="tensor")
    error = relative(found, expected)
    record_property("relative error", f"{error:.2g}")
    assert error <= 1e-4


def test_masks_at_the_size_of_the_image(device, record_property):
    """Pasted masks differ in pixels on their edge at most."""
    detector = models.build(models.mask_rcnn(models.backbone(VARIANT, None, 0.0), 3, DETECTOR), "mmdet")
    head = detector.roi_head.mask_head
    logits = torch.nn.functional.interpolate(
        torch.randn(20, 3, 4, 4, generator=torch.Generator().manual_seed(4)), 28, mode="bicubic"
    )
    meta = {"ori_shape": (HEIGHT, WIDTH), "scale_factor": (1.0, 1.0)}
    settings = ConfigDict(mask_thr_binary=0.5)

    def pasted(where: torch.device) -> torch.Tensor:
        return head._predict_by_feat_single(
            logits.to(where), boxes(20).to(where), (torch.arange(20) % 3).to(where), meta, settings
        )

    found, expected = pasted(device).cpu(), pasted(CPU)
    assert found.shape == expected.shape == (20, HEIGHT, WIDTH)
    assert expected.any()
    share = float((found != expected).sum() / expected.sum())
    record_property("share of the masks' pixels that differ", f"{share:.2g}")
    assert share <= 1e-4


def test_resizing_of_label_logits(device):
    logits = torch.randn(1, 150, 128, 128, generator=torch.Generator().manual_seed(5))
    resize = torch.nn.functional.interpolate
    expected = resize(logits, size=(683, 512), mode="bilinear", align_corners=False)
    found = resize(logits.to(device), size=(683, 512), mode="bilinear", align_corners=False)
    assert farthest(found, expected) <= 1e-4
