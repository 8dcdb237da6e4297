"""Every segmentation head has its parameters and its configuration, and is recognised in a file of weights."""

import pytest
import torch

from pacavit.checkpoints.tables import contents, expected_state
from pacavit.openmmlab import models
from pacavit.params.ade20k import HEAD_PARAMS, Heads
from pacavit.tasks import HEADS
from pacavit.weights import Fit
from small_models import SMALL_FPN, SMALL_PACA, SMALL_UPERNET

OPTIONS = {"paca": SMALL_PACA, "upernet": SMALL_UPERNET, "fpn": SMALL_FPN, "fcn": SMALL_UPERNET}


def test_each_has_parameters_and_a_configuration():
    assert list(HEADS) == list(models.SEGMENTORS) == list(Heads.model_fields) == list(HEAD_PARAMS)


def fcn_segmentor(encoder, num_classes, options, crop, norm):
    """A head as somebody may add one: convolutions on the last stage."""
    head = models._head(num_classes, options.channels, norm)
    last = {"type": "FCNHead", "in_channels": models._dims(encoder)[3], "in_index": 3, "num_convs": 2}
    return {**models._segmentor(encoder, crop), "decode_head": head | last}


@pytest.mark.parametrize("head", OPTIONS)
def test_it_is_recognised_beside_another_one(head, monkeypatch):
    monkeypatch.setitem(HEAD_PARAMS, "fcn", type(SMALL_UPERNET))
    monkeypatch.setattr("pacavit.checkpoints.tables.HEADS", (*HEADS, "fcn"))
    monkeypatch.setattr(models, "SEGMENTORS", {**models.SEGMENTORS, "fcn": fcn_segmentor})
    encoder = models.backbone("test_pacavit", None, 0.0, [24, 24, 24, 0])
    config = models.SEGMENTORS[head](encoder, 6, OPTIONS[head], 64, "BN")
    with torch.device("meta"):
        weights = models.build(config, "mmseg").state_dict()
    found = contents(weights)
    assert (found.head, found.classes) == (head, 6)
    assert not Fit.of(expected_state(weights, found), weights).problems()
