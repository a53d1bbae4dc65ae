"""What a stage cost stands beside its outs and not among them, together with what it wrote."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import cost, layout, names

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_stage_that_ended_well_leaves_its_time_its_memory_and_the_hashes_of_what_it_wrote(clone: Path) -> None:
    def command(seed: int) -> None:
        path = layout.SEARCH / f"seed-{seed}" / "history.csv"
        path.parent.mkdir(parents=True)
        path.write_text("epoch\n1\n")

    cost.timed("search", command)(seed=3)
    record = json.loads((layout.COST / "search@3.json").read_text())
    assert record["stage"] == "search@3"
    assert 0 <= record["seconds"] < 5
    assert record["peak_memory_bytes"] > 1e6
    expected = hashlib.md5(b"epoch\n1\n", usedforsecurity=False).hexdigest()
    assert record["outs"] == {"artifacts/search/seed-3/history.csv": expected}


def test_the_memory_of_processes_that_compute_for_a_stage_counts(clone: Path) -> None:
    def command(seed: int) -> None:
        subprocess.run([sys.executable, "-c", "x = bytearray(b'1') * 2**31"], check=True)

    cost.timed("search", command)(seed=3)
    assert json.loads((layout.COST / "search@3.json").read_text())["peak_memory_bytes"] > 2**31


def test_a_training_is_recorded_as_dvc_names_it_however_it_was_asked_for(clone: Path) -> None:
    def command(target: str, seed: int | None = None) -> None:
        path = layout.training("my-net", 7) / "metrics.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")

    (clone / "params.yaml").write_text("training_seeds: [7, 8]")
    run = cost.timed("train", command, names.training)
    for arguments in (("train@my-net-7",), ("my-net", 7), ("my-net",)):
        run(*arguments)
        record = json.loads((layout.COST / "train@my-net-7.json").read_text())
        assert list(record["outs"]) == ["artifacts/train/my-net/seed-7/metrics.json"]
        (layout.COST / "train@my-net-7.json").unlink()


def test_a_command_that_was_asked_for_something_else_leaves_no_record(clone: Path) -> None:
    def command(target: str, *, dry_run: bool = False) -> None: ...

    cost.timed("build", command)(target="digits", dry_run=True)
    assert not layout.COST.exists()
    cost.timed("build", command)(target="digits", dry_run=False)
    assert (layout.COST / "build@digits.json").is_file()


def test_a_stage_that_failed_leaves_no_record(clone: Path) -> None:
    def command() -> None:
        raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        cost.timed("decode", command)()
    assert not layout.COST.exists()


def test_no_stage_has_its_cost_among_its_outs_or_deps() -> None:
    assert "artifacts/cost" not in (ROOT / "dvc.yaml").read_text()
