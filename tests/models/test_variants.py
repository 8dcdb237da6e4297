"""Which models of timm a variant may be, and what is told of one that may not."""

import sys

import pytest
import timm
import torch

from pacavit.errors import PacavitError
from pacavit.models import variant_names, variants
from pacavit.models.variants import create, create_dense, describe, maps
from pacavit.params.targets import Model


def named(name: str, **kwargs) -> Model:
    return Model(name, name, kwargs)


@pytest.mark.parametrize("name", variant_names())
def test_a_paca_vit_is_told_by_its_name(name):
    assert named(name).is_paca
    assert named(name).has_clusters
    assert not named(name, num_clusters=[0, 0, 0, 0]).has_clusters


def test_of_timms_other_models_none_is_taken_for_a_paca_vit():
    assert not [
        n
        for n in timm.list_models()
        if named(n).is_paca and not timm.model_entrypoint(n).__module__.startswith("pacavit.")
    ]


@pytest.mark.parametrize(
    ("name", "indices", "channels"),
    [
        ("test_pacavit", (0, 1, 2, 3), (32, 64, 96, 128)),
        ("swin_tiny_patch4_window7_224", (0, 1, 2, 3), (96, 192, 384, 768)),
        ("pvt_v2_b0", (0, 1, 2, 3), (32, 64, 160, 256)),
        ("convnext_atto", (0, 1, 2, 3), (40, 80, 160, 320)),
        # One of stride 2 comes first.
        ("resnet18", (1, 2, 3, 4), (64, 128, 256, 512)),
        ("efficientnet_b0", (1, 2, 3, 4), (24, 40, 112, 320)),
    ],
)
def test_four_maps_are_found_at_strides_4_to_32(name, indices, channels):
    found = maps(named(name))
    assert (found.indices, found.channels) == (indices, channels)


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("vit_tiny_patch16_224", {}, r"has maps at strides 16, and none at 4, 8, 32; take a model with maps"),
        ("nest_tiny", {}, r"has maps at strides 4, 8, 16, and none at 32"),
        (
            "maxvit_pico_rw_256",
            {},
            r"gives no maps of an image of 224 x 224 pixels: .*; take a model for images",
        ),
        ("resnet81", {}, r"'resnet81' is not a registered model; did you mean 'resnet"),
        ("resnet18", {"depht": 3}, r"timm cannot make resnet18 with depht=3.*TypeError.*mend its kwargs"),
    ],
)
def test_another_model_is_refused_with_the_reason_in_one_line(name, kwargs, message):
    with pytest.raises(PacavitError, match=f"variant '{name}': .*{message}") as caught:
        describe(named(name, **kwargs))
    assert "\n" not in str(caught.value)


def test_a_model_that_lies_about_its_maps_is_refused(monkeypatch):
    lying = timm.models.resnet.ResNet.forward_intermediates
    monkeypatch.setattr(
        timm.models.resnet.ResNet,
        "forward_intermediates",
        lambda *args, **kwargs: lying(*args, **kwargs)[::-1],
    )
    with pytest.raises(PacavitError, match=r"gives maps 512x7x7, .* other than its feature_info says"):
        describe(Model("lying", "resnet18", {"channels": [64, 128, 256, 512]}))


def test_a_model_of_fixed_size_is_made_for_the_size_of_the_images():
    model = Model("small_swin", "swin_tiny_patch4_window7_224", {"embed_dim": 24, "depths": [1, 1, 1, 1]})
    with torch.inference_mode():
        assert create(model, 10, 0.0, image_size=64).eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 10)
        assert create(named("resnet10t"), 10, 0.0, image_size=64).eval()(torch.zeros(1, 3, 64, 64)).shape == (
            1,
            10,
        )


def test_a_model_that_has_no_drop_path_takes_0_and_no_other():
    with torch.device("meta"):
        assert create(named("densenet121"), 3, drop_path=0.0).num_classes == 3
        with pytest.raises(PacavitError, match=r"drop_path_rate=0\.1.*drop_path of a model that has none"):
            create(named("densenet121"), 3, drop_path=0.1)


def test_a_swin_takes_any_size_in_a_dense_task_and_not_in_classification():
    with torch.device("meta"):
        dense = create_dense(named("swin_tiny_patch4_window7_224"))
        given = variants.intermediates(dense.eval(), torch.empty(1, 3, 799, 1333), range(4))
    assert [tuple(one.shape[2:]) for one in given] == [(200, 334), (100, 167), (50, 84), (25, 42)]


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A function that writes a module into the current folder, the project's root."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)

    yield write
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in sys.modules[name].__file__:
            del sys.modules[name]


OWN = """
from timm.models import register_model
from timm.models.resnet import BasicBlock, ResNet

@register_model
def {name}(pretrained=False, **kwargs):
    kwargs.pop("pretrained_cfg", None), kwargs.pop("pretrained_cfg_overlay", None), kwargs.pop("cache_dir", None)
    return ResNet(BasicBlock, (1, 1, 1, 1), channels=(8, 16, 24, 32), **kwargs)
"""


def test_a_module_of_the_user_registers_a_model(own_module):
    own_module("mine_a", OWN.format(name="own_net_a"))
    found = describe(Model("own", "own_net_a", {}, ("mine_a",)))
    assert (found["module"], found["channels"]) == ("mine_a", [8, 16, 24, 32])
    assert str(own_module) not in sys.path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nowhere", r"imports: mine_b: ModuleNotFoundError: No module named 'nowhere'"),
        ("def broken(:", r"imports: mine_b: SyntaxError"),
    ],
)
def test_a_module_that_fails_is_named(own_module, text, message):
    own_module("mine_b", text)
    with pytest.raises(PacavitError, match=message):
        describe(Model("own", "own_net_b", {}, ("mine_b",)))


class Point:
    """An entry point of an installed package."""

    name, value = "ours", "package.models"

    def __init__(self, load):
        self.load = load


def test_an_installed_package_registers_models_by_its_entry_point(monkeypatch):
    loaded = []
    monkeypatch.setattr(variants, "entry_points", lambda group: [Point(lambda: loaded.append(group))])
    variants._import_entry_points.__wrapped__()
    assert loaded == ["pacavit.models"]


def test_an_entry_point_that_fails_is_named(monkeypatch):
    monkeypatch.setattr(variants, "entry_points", lambda group: [Point(lambda: 1 / 0)])
    with pytest.raises(
        PacavitError, match=r"pacavit\.models: ours = package\.models: ZeroDivisionError.*remove that"
    ):
        variants._import_entry_points.__wrapped__()
