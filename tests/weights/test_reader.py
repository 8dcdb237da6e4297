"""Every form in which trainers publish weights is read, and nothing in a file runs."""

from argparse import Namespace

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from pacavit.errors import PacavitError
from pacavit.weights import backbone_weights, read


def same(weights, expected):
    return weights.keys() == expected.keys() and all(
        torch.equal(weights[key], expected[key]) for key in expected
    )


def plus_one(state):
    return {key: value + 1 for key, value in state.items()}


def under(prefix, state):
    return {f"{prefix}{key}": value for key, value in state.items()}


FORMS = {
    "bare": lambda plain, averaged: plain,
    "distributed": lambda plain, averaged: under("module.", plain),
    "compiled": lambda plain, averaged: {"state_dict": under("module._orig_mod.", plain)},
    "model": lambda plain, averaged: {"model": plain, "epoch": 3},
    "timm": lambda plain, averaged: {
        "epoch": 299,
        "arch": "test_pacavit",
        "state_dict": plain,
        "state_dict_ema": averaged,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]},
        "args": Namespace(lr=0.1, model="test_pacavit"),
        "metric": np.float64(81.3),
        "version": 2,
    },
    "model_ema": lambda plain, averaged: {"model": plain, "model_ema": under("module.", averaged)},
    "mmengine": lambda plain, averaged: {
        "meta": {"epoch": 12, "cfg": "model = dict()", "dataset_meta": {"palette": np.zeros((2, 3))}},
        "state_dict": plain,
        "message_hub": {"log_scalars": {"train/loss": HistoryBuffer([1.0], [1])}, "runtime_info": {}},
        "optimizer": {"state": {}, "param_groups": []},
    },
    # mmengine's hook swaps the two when it saves.
    "mmengine with averages": lambda plain, averaged: {
        "meta": {"iter": 1},
        "state_dict": averaged,
        "ema_state_dict": {"steps": torch.tensor(5), **under("module.", plain)},
    },
}
WITHOUT_AVERAGES = sorted({"bare", "distributed", "compiled", "model", "mmengine"})


@pytest.mark.parametrize("form", FORMS)
def test_plain_weights_are_read_from_every_form(form, state, saved):
    found = read(saved(FORMS[form](state, plus_one(state))))
    assert same(found.weights, state)
    assert not found.averaged


@pytest.mark.parametrize("form", sorted(FORMS.keys() - WITHOUT_AVERAGES))
def test_averaged_weights_are_read_where_a_file_has_them(form, state, saved):
    found = read(saved(FORMS[form](state, plus_one(state))), ema=True)
    assert same(found.weights, plus_one(state))
    assert found.averaged


@pytest.mark.parametrize("form", WITHOUT_AVERAGES)
def test_averaged_weights_that_are_not_there_are_an_error(form, state, saved):
    with pytest.raises(PacavitError, match=r"published\.pth: no averaged \(EMA\) weights in it, only"):
        read(saved(FORMS[form](state, None)), ema=True)


def test_a_file_of_averaged_weights_alone_gives_these_and_says_so(state, saved):
    found = read(saved({"state_dict_ema": state, "metric": 0.5}))
    assert same(found.weights, state)
    assert found.averaged
    assert found.entry == "state_dict_ema"


def test_safetensors_are_read(state, tmp_path):
    save_file(state, tmp_path / "weights.safetensors")
    found = read(tmp_path / "weights.safetensors")
    assert same(found.weights, state)
    assert (found.entry, found.averaged) == (None, False)


def test_the_backbone_of_a_dense_model_goes_by_its_own_keys(state):
    dense = {**under("backbone.", state), "decode_head.conv_seg.bias": torch.ones(2)}
    assert same(backbone_weights(dense), state)
    assert same(backbone_weights(state), state)


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.norm = torch.nn.BatchNorm1d(1)

    def forward(self, *inputs, mode):
        return {"loss": self.norm(self.layer(torch.stack(inputs))).square().sum() + self.layer.weight.sum()}


def test_what_mmengines_runner_saves_is_read_and_its_average_told_apart(tmp_path):
    """The runner itself, with its logs, optimiser, scheduler and EMA hook, so that no form of it is overlooked."""
    model = Line()
    hook = EMAHook(momentum=0.5)
    runner = Runner(
        model,
        str(tmp_path),
        train_dataloader=DataLoader(torch.arange(4.0)[:, None], batch_size=2, collate_fn=pseudo_collate),
        train_cfg={"by_epoch": True, "max_epochs": 2},
        optim_wrapper={"optimizer": {"type": "AdamW", "lr": 0.1}},
        param_scheduler={"type": "LinearLR", "start_factor": 0.5},
        custom_hooks=[hook],
        default_hooks={"checkpoint": CheckpointHook(interval=1), "logger": {"type": "LoggerHook"}},
        log_level="ERROR",
        default_scope=None,
        experiment_name=tmp_path.name,
    )
    runner.train()
    path = tmp_path / "epoch_2.pth"
    with pytest.raises(Exception, match="Unsupported global"):  # so the allowed names are needed
        torch.load(path, weights_only=True)
    average = hook.ema_model.module.state_dict()
    assert same(read(path).weights, model.state_dict())
    assert same(read(path, ema=True).weights, average)
    assert not torch.equal(average["layer.weight"], model.layer.weight)


class Payload:
    def __init__(self, call, *arguments):
        self.parts = call, arguments

    def __reduce__(self):
        return self.parts


def test_code_is_refused_by_name_and_does_not_run(tmp_path, saved, state):
    ran = tmp_path / "ran"
    evil = saved({"state_dict": state, "args": Payload(open, str(ran), "w")})
    with pytest.raises(PacavitError, match=r"published\.pth: not a readable checkpoint \(it asks for .*open"):
        read(evil)
    assert not ran.exists()


def test_the_names_that_are_let_through_do_nothing(tmp_path, saved, state):
    """mmengine's logs name getattr, by which code would be within reach if the name meant what it says."""
    ran = tmp_path / "ran"
    reach = Payload(getattr, ran, "touch")
    content = {"state_dict": state, "args": Namespace(x=Payload(getattr, Namespace(y=1), "y"))}
    assert same(read(saved(content)).weights, state)
    with pytest.raises(PacavitError, match="not a readable checkpoint"):
        read(saved({"state_dict": state, "args": reach}))
    assert not ran.exists()


def test_no_code_is_allowed_for_good(saved, state):
    before = set(torch.serialization.get_safe_globals())
    read(saved(state))
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_file_is_named(suffix, state, tmp_path, saved):
    path = tmp_path / f"cut{suffix}"
    save_file(state, path) if suffix == ".safetensors" else saved(state, path.name)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(PacavitError, match=rf"cut{suffix}: not a readable checkpoint \(.+\); fetch"):
        read(path)


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "empty.pth").touch()
    with pytest.raises(PacavitError, match=r"empty\.pth: not a readable checkpoint"):
        read(tmp_path / "empty.pth")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PacavitError, match=r"nowhere\.pth: no such checkpoint"):
        read(tmp_path / "nowhere.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list; expected weights by key"),
        ({"epoch": 3}, "'epoch' is no tensor; expected tensors by key"),
        ({"net": {"w": torch.ones(1)}}, "'net' is no tensor; .*state_dict, model, state_dict_ema"),
        ({"state_dict": {"w": np.ones(1)}}, "'w' is no tensor; expected tensors by key"),
        ({}, "no weights in it"),
        ({"a": torch.ones(1), "module.a": torch.ones(1)}, "both with and without `module.`"),
    ],
)
def test_a_file_without_weights_is_told_plainly(content, message, saved):
    with pytest.raises(PacavitError, match=message):
        read(saved(content))
