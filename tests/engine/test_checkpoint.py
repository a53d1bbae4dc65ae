"""A checkpoint holds the newest state of one run, and of no other."""

from pathlib import Path

import torch

from midas.engine.checkpoint import Checkpoint


def test_another_fingerprint_starts_afresh(tmp_path: Path) -> None:
    Checkpoint(tmp_path, "old").save({"history": []})
    assert Checkpoint(tmp_path, "new").load() is None
    assert Checkpoint(tmp_path, "old").load() == {"history": []}


def test_saving_removes_what_other_runs_left(tmp_path: Path) -> None:
    Checkpoint(tmp_path, "old").save({"history": []})
    Checkpoint(tmp_path, "new").save({"history": [1]})
    assert Checkpoint(tmp_path, "old").load() is None
    assert [path.name for path in tmp_path.iterdir()] == ["new.pt"]


def test_a_damaged_checkpoint_counts_as_none(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, "p")
    checkpoint.save({"x": torch.ones(3)})
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:100])
    assert checkpoint.load() is None


def test_a_cleared_checkpoint_is_gone(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "search-0", "p")
    checkpoint.save({"x": 1})
    checkpoint.clear()
    assert checkpoint.load() is None
    assert not checkpoint.folder.exists()
