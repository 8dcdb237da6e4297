"""Training states are whole, checked, and few."""

import pytest
import torch

from pacavit.training import checkpoint


def test_the_newest_state_comes_back(tmp_path):
    assert checkpoint.load_latest(tmp_path) is None
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, {"step": step, "weights": torch.arange(step)}, step)
    state = checkpoint.load_latest(tmp_path)
    assert state["step"] == 3
    assert torch.equal(state["weights"], torch.arange(3))


def test_only_the_last_two_are_kept(tmp_path):
    for step in range(5):
        checkpoint.save(tmp_path, {"step": step}, step)
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["step-000000003.pt", "step-000000004.pt"]


@pytest.mark.parametrize("damage", ["cut", "changed", "without hash"])
def test_a_damaged_one_is_passed_over(tmp_path, damage):
    for step in (1, 2):
        newest = checkpoint.save(tmp_path, {"step": step}, step)
    content = newest.read_bytes()
    if damage == "cut":
        newest.write_bytes(content[:100])
    elif damage == "changed":
        newest.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        newest.with_suffix(".sha256").unlink()
    assert checkpoint.load_latest(tmp_path)["step"] == 1


def test_a_kill_while_writing_leaves_the_older_ones(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, {"step": 1}, 1)
    monkeypatch.setattr(torch, "save", lambda state, path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, {"step": 2}, 2)
    assert checkpoint.load_latest(tmp_path)["step"] == 1
    assert len(list(tmp_path.iterdir())) == 2
