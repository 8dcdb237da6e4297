"""The stand-in for mmcv's compiled operators, called through mmcv itself."""

import importlib.util
import subprocess
import sys

import mmcv.ops
import pytest
import torch
import torchvision

from pacavit import mmcv_extension


@pytest.fixture
def maps():
    return torch.randn(2, 3, 16, 20, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def regions():
    return torch.tensor(
        [
            [0, 1.3, 2.1, 9.7, 12.4],
            [1, 0.0, 0.0, 19.0, 15.0],
            [1, -3.0, 4.0, 5.5, 30.0],
            [0, 7.0, 7.0, 7.2, 7.1],
        ]
    )


def test_the_adapter_is_a_module_and_is_found_once():
    adapter = sys.modules[mmcv_extension.NAME]
    finders = list(sys.meta_path)
    mmcv_extension.install()
    assert sys.meta_path == finders
    assert sys.modules[mmcv_extension.NAME] is adapter
    assert importlib.util.find_spec(mmcv_extension.NAME).name == mmcv_extension.NAME
    assert not hasattr(adapter, "__path__")


def test_compiled_operators_are_found_before(monkeypatch, tmp_path):
    (tmp_path / "_ext.py").write_text("compiled = True")
    monkeypatch.delitem(sys.modules, mmcv_extension.NAME)
    monkeypatch.setattr(mmcv, "__path__", [*mmcv.__path__, str(tmp_path)])
    assert importlib.import_module(mmcv_extension.NAME).compiled


@pytest.mark.slow
@pytest.mark.parametrize("imported", ["mmdet, pacavit, mmdet.apis", "mmseg, pacavit.models, mmseg.apis"])
def test_whichever_part_of_the_package_is_imported_openmmlab_can_be_after_it(imported):
    subprocess.run([sys.executable, "-W", "ignore", "-c", f"import {imported}"], check=True)


def test_another_operator_names_itself_and_the_remedy():
    boxes, scores = torch.tensor([[0.0, 0.0, 9.0, 9.0]]), torch.tensor([0.5])
    with pytest.raises(NotImplementedError, match=r"'softnms'.*install mmcv"):
        mmcv.ops.soft_nms(boxes, scores)


@pytest.mark.parametrize(("offset", "kept"), [(0, [1, 0]), (1, [1])])
def test_nms_counts_the_last_pixel_with_an_offset(offset, kept):
    """The overlap is 36 / 81 = 0.44 without the last pixels, and 50 / 100 = 0.5 with them."""
    boxes = torch.tensor([[0.0, 0.0, 9.0, 4.0], [0.0, 0.0, 9.0, 9.0]])
    dets, indices = mmcv.ops.nms(boxes, torch.tensor([0.3, 0.8]), 0.47, offset=offset)
    assert indices.tolist() == kept
    assert torch.equal(dets, torch.cat([boxes, torch.tensor([[0.3], [0.8]])], dim=1)[kept])


def test_nms_on_many_boxes_is_torchvisions_and_batched_nms_keeps_classes_apart():
    generator = torch.Generator().manual_seed(1)
    corner, size = torch.rand(200, 2, generator=generator) * 50, torch.rand(200, 2, generator=generator) * 30
    boxes, scores = torch.cat([corner, corner + size], dim=1), torch.rand(200, generator=generator)
    labels = torch.arange(200) % 3
    _, indices = mmcv.ops.nms(boxes, scores, 0.5)
    assert torch.equal(indices, torchvision.ops.nms(boxes, scores, 0.5))
    assert 0 < len(indices) < 200
    _, indices = mmcv.ops.batched_nms(boxes, scores, labels, {"type": "nms", "iou_threshold": 0.5})
    assert torch.equal(indices, torchvision.ops.batched_nms(boxes, scores, labels, 0.5))


def test_roi_align_of_a_plane_gives_its_value_at_the_middle_of_each_bin():
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    plane = (3 * columns + 2 * rows + 1)[None, None]
    pooled = mmcv.ops.roi_align(plane, torch.tensor([[0, 2.0, 3.0, 10.0, 9.0]]), (2, 4), 1.0, 2, "avg", True)
    # Bins are 2 wide and 3 high; aligned regions put the middle of pixel i at i + 0.5.
    x, y = torch.tensor([3.0, 5.0, 7.0, 9.0]) - 0.5, torch.tensor([4.5, 7.5]) - 0.5
    torch.testing.assert_close(pooled[0, 0], 3 * x[None, :] + 2 * y[:, None] + 1)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_roi_align_and_its_gradient_are_torchvisions(maps, regions, scale, sampling_ratio, aligned):
    ours, theirs = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    pooled = mmcv.ops.roi_align(ours, regions, (3, 5), scale, sampling_ratio, "avg", aligned)
    expected = torchvision.ops.roi_align(theirs, regions, (3, 5), scale, sampling_ratio, aligned)
    torch.testing.assert_close(pooled, expected)
    weights = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(2))
    (pooled * weights).sum().backward()
    (expected * weights).sum().backward()
    assert ours.grad.abs().sum() > 0
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_roi_align_passes_gradcheck(regions):
    maps = torch.randn(2, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    regions = regions.double() * torch.tensor([1.0, 0.3, 0.3, 0.3, 0.3])
    assert torch.autograd.gradcheck(
        lambda x: mmcv.ops.roi_align(x, regions, (2, 2), 1.0, 2, "avg", True), (maps,)
    )


@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_roi_align_takes_half_precision_maps_and_computes_in_single(maps, regions, dtype, autocast):
    half, single = (maps.to(dtype).requires_grad_(), maps.to(dtype).float().requires_grad_())
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        pooled = mmcv.ops.roi_align(half, regions, (3, 3), 1.0, 0, "avg", True)
    expected = mmcv.ops.roi_align(single, regions, (3, 3), 1.0, 0, "avg", True)
    assert pooled.dtype == dtype
    torch.testing.assert_close(pooled, expected.to(dtype), rtol=0, atol=0)
    pooled.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(half.grad, single.grad.to(dtype), rtol=0, atol=0)


def test_no_regions_give_no_features(maps):
    assert mmcv.ops.roi_align(maps, torch.zeros(0, 5), (3, 3), 1.0, 0, "avg", True).shape == (0, 3, 3, 3)


def test_maximum_pooling_is_refused(maps, regions):
    with pytest.raises(NotImplementedError, match="max"):
        mmcv.ops.roi_align(maps, regions, (2, 2), 1.0, 2, "max", True)


def test_the_focal_loss_and_its_gradient_are_torchvisions():
    torch.manual_seed(0)
    logits, target = torch.randn(6, 4), torch.tensor([0, 1, 3, 4, 2, 4])  # 4 is no class
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = mmcv.ops.sigmoid_focal_loss(ours, target, 2.0, 0.25, None, "sum")
    wanted = (target[:, None] == torch.arange(4)).float()
    expected = torchvision.ops.sigmoid_focal_loss(theirs, wanted, 0.25, 2.0, "sum")
    torch.testing.assert_close(loss, expected)
    (3 * loss).backward()
    (3 * expected).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_weights_of_classes_in_the_focal_loss_are_refused():
    with pytest.raises(NotImplementedError, match="sigmoid_focal_loss with weights of classes"):
        mmcv.ops.sigmoid_focal_loss(torch.randn(2, 3), torch.tensor([0, 1]), 2.0, 0.25, torch.ones(3), "sum")
