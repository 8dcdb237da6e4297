"""Training states are whole, checked, and few."""

import resource
import shutil
from types import SimpleNamespace

import pytest
import torch

from pacavit.errors import PacavitError
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
def test_a_damaged_one_is_passed_over_and_named(tmp_path, capsys, damage):
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
    assert f"{newest}: damaged or not written to its end" in capsys.readouterr().out


def test_a_kill_between_state_and_hash_leaves_the_older_one(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, {"step": 1}, 1)
    monkeypatch.setattr(checkpoint, "_digest", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, {"step": 2}, 2)
    monkeypatch.undo()
    assert checkpoint.load_latest(tmp_path)["step"] == 1


def test_what_kills_left_half_written_is_removed(tmp_path):
    checkpoint.save(tmp_path, {"step": 1}, 1)
    (tmp_path / ".step-000000002.pt.abc.pt").write_bytes(b"half")
    assert checkpoint.load_latest(tmp_path)["step"] == 1
    assert not list(tmp_path.glob(".*"))


def test_too_little_room_is_told_before_writing_and_costs_no_state(tmp_path, monkeypatch):
    state = {"step": 1, "model": {"weight": torch.zeros(1000)}, "moments": [torch.zeros(500)]}
    checkpoint.save(tmp_path, state, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=(16 << 20) + 5999))
    with pytest.raises(
        PacavitError, match=r"step-000000002.pt: a state takes 0 MB and 17 MB are free; free space"
    ):
        checkpoint.save(tmp_path, state, 2)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=(16 << 20) + 6000))
    checkpoint.save(tmp_path, state, 2)


def test_a_disk_that_fills_up_while_writing_costs_no_state(tmp_path):
    checkpoint.save(tmp_path, {"step": 1}, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(
            PacavitError, match=r"step-000000002.pt: cannot be written .*goes on from the last state"
        ):
            checkpoint.save(tmp_path, {"step": 2, "model": torch.zeros(1_000_000)}, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoint.load_latest(tmp_path)["step"] == 1
    assert not list(tmp_path.glob(".*"))


def test_a_kill_while_writing_leaves_the_older_ones(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, {"step": 1}, 1)
    monkeypatch.setattr(torch, "save", lambda state, path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, {"step": 2}, 2)
    assert checkpoint.load_latest(tmp_path)["step"] == 1
    assert len(list(tmp_path.iterdir())) == 2
