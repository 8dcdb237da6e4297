import pytest
import torch

from pacavit.measurement.imagenet import accuracies


def test_top_5_of_fewer_than_five_classes_counts_every_image():
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    values = accuracies(logits, torch.tensor([0, 1, 1, 1]))
    assert (values["top1"], values["top5"]) == (75.0, 100.0)
    assert values["loss"] == pytest.approx((3 * 0.126928 + 2.126928) / 4, abs=1e-5)
