"""Widths and numbers of proposals of dense models that are small enough for tests."""

from pacavit.params.ade20k import FpnParams, PacaHeadParams, UperNetParams
from pacavit.params.coco import DetectorParams

SMALL_DETECTOR = DetectorParams(
    channels=32,
    anchor_scale=4.0,
    fc_channels=64,
    mask_convs=1,
    train_proposals=64,
    test_proposals=64,
    detections=100,
    rpn_samples=32,
    roi_samples=32,
)
SMALL_PACA = PacaHeadParams(channels=16, cluster_loss_weight=0.4, lr_multiplier=1.0, multiplied="meant")
SMALL_FPN = FpnParams(channels=16, neck_channels=24)
SMALL_UPERNET = UperNetParams(channels=16, auxiliary_channels=8)
