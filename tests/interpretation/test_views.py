"""What is shown of the attention is what the model computes."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import pacavit.models  # noqa: F401, registers the variants
from pacavit.interpretation.views import observe

KINDS = {
    "convolutional": {},
    "mlp": {"clustering": "mlp"},
    "linear": {"clustering": "linear"},
    "block-wise": {"clustering_mode": "block"},
    "teacher": {"teacher_depths": (1, 1, 1, 1), "num_clusters": (16, 16, 16, 16)},
}


@pytest.fixture
def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8))


def create(**kwargs):
    torch.manual_seed(0)
    return timm.create_model("test_pacavit", num_classes=0, **kwargs).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_weights_sum_to_one_for_every_kind_of_clustering(kind, image):
    for view in observe(create(**KINDS[kind]), image):
        np.testing.assert_allclose(view.attention.sum(-1), 1, rtol=1e-5)
        np.testing.assert_allclose(view.to_patches((1, 1)).sum((1, 2)), 1, rtol=1e-4)
        if view.assignment is not None:
            assert view.assignment.shape[1:] == view.size
            np.testing.assert_allclose(view.assignment.sum((1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("kind", ["convolutional", "teacher"])
def test_assignment_is_the_one_of_the_model(kind, image):
    model = create(**KINDS[kind])
    pixels = np.asarray(image, np.float32) / 255
    batch = torch.tensor((pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225], dtype=torch.float32)
    with torch.inference_mode():
        expected = model.assignments(batch.permute(2, 0, 1)[None])
    for view, maps in zip(observe(model, image), expected, strict=True):
        if maps is None:
            assert view.assignment is None
        else:
            np.testing.assert_array_equal(view.assignment, maps[0].numpy())


@pytest.mark.parametrize("clusters", [16, 0])
def test_attention_times_values_is_what_the_module_returns(clusters):
    attention = create(num_clusters=(clusters, 16, 16, 0)).stage1[0].attn
    x = torch.randn(2, 48, attention.q.in_features, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, assignment = attention(x, (6, 8))
        values = attention._heads(attention.v(attention._gather(x, assignment)))
        attended = (attention.weights(x, assignment) @ values).transpose(1, 2).flatten(2)
        torch.testing.assert_close(attention.proj(attended), expected)


def test_blocks_of_a_stage_share_an_assignment_unless_clusters_are_block_wise(image):
    model = create(clustering_mode="stage", depths=(2, 2, 2, 2))
    first, last = observe(model, image, block=0)[0], observe(model, image, block=-1)[0]
    np.testing.assert_array_equal(first.assignment, last.assignment)
    assert not np.array_equal(first.attention, last.attention)
    model = create(clustering_mode="block", depths=(2, 2, 2, 2))
    first, last = observe(model, image, block=0)[0], observe(model, image, block=-1)[0]
    assert not np.array_equal(first.assignment, last.assignment)


def test_nothing_stays_behind_in_the_model(image):
    model = create()
    observe(model, image)
    assert not any(module._forward_hooks for module in model.modules())


def test_strongest_cluster_of_plain_attention_is_refused(image):
    with pytest.raises(ValueError, match="stage 4: patches attend to patches"):
        _ = observe(create(), image)[3].strongest
