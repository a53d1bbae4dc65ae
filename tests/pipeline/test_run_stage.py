"""What wraps every stage's command: the check of params.yaml, its summary, and its cost."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from midas.engine import loop
from midas.io.errors import MidasError, ParamsError
from pipeline import names, paths
from pipeline.run_stage import outs_of, stage_command
from pipeline.summary_table import Summary

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def silent_afterwards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MIDAS_PROGRESS", "plain")
    yield
    loop.show_progress_with(None)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_stage_that_ended_well_leaves_its_time_its_memory_and_the_hashes_of_its_outs(
    clone: Path,
) -> None:
    def command(seed: int) -> None:
        path = paths.search(seed) / "history.csv"
        path.parent.mkdir(parents=True)
        path.write_text("epoch\n1\n")

    stage_command("search", command)(seed=3)
    record = json.loads((paths.COST / "search@3.json").read_text())
    assert record["stage"] == "search@3"
    assert 0 <= record["seconds"] < 5
    assert record["peak_memory_bytes"] > 1e6
    expected = hashlib.md5(b"epoch\n1\n", usedforsecurity=False).hexdigest()
    assert record["outs"] == {"artifacts/search/seed-3/history.csv": expected}


def test_the_memory_of_processes_that_compute_for_a_stage_counts(clone: Path) -> None:
    def command(seed: int) -> None:
        subprocess.run([sys.executable, "-c", "x = bytearray(b'1') * 2**31"], check=True)

    stage_command("search", command)(seed=3)
    assert json.loads((paths.COST / "search@3.json").read_text())["peak_memory_bytes"] > 2**31


def test_a_training_is_recorded_as_dvc_names_it_however_it_was_asked_for(clone: Path) -> None:
    def command(target: str, seed: int | None = None) -> None:
        path = paths.training("my-net", 7) / "metrics.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")

    (clone / "params.yaml").write_text("training_seeds: [7, 8]")
    run = stage_command("train", command, names.training)
    for arguments in (("train@my-net-7",), ("my-net", 7), ("my-net",)):
        run(*arguments)
        record = json.loads((paths.COST / "train@my-net-7.json").read_text())
        assert list(record["outs"]) == ["artifacts/train/my-net/seed-7/metrics.json"]
        (paths.COST / "train@my-net-7.json").unlink()


def test_a_command_with_an_option_that_asks_for_something_else_leaves_no_record(
    clone: Path,
) -> None:
    def command(target: str, *, dry_run: bool = False) -> None: ...

    stage_command("build", command)(target="digits", dry_run=True)
    assert not paths.COST.exists()
    stage_command("build", command)(target="digits", dry_run=False)
    assert (paths.COST / "build@digits.json").is_file()


def test_a_stage_that_failed_leaves_no_record_and_frees_its_lock(clone: Path) -> None:
    def command() -> None:
        raise ValueError("no room")

    for _ in range(2):
        with pytest.raises(ValueError, match="no room"):
            stage_command("select", command)()
    assert not paths.COST.exists()


def test_a_stage_whose_parameters_are_wrong_does_not_begin(clone: Path) -> None:
    def command() -> None:
        raise AssertionError("it began")

    (clone / "params.yaml").write_text("seeds: []")
    with pytest.raises(ParamsError, match=r"^params.yaml: seeds: \[\] is not allowed"):
        stage_command("select", command)()


def test_the_summary_is_shown_and_a_worker_that_has_none_shows_nothing(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summaries = [Summary("select", {"seed 0": {"steps": 1200}}, paths.GENOTYPE), None]
    stage_command("select", summaries.pop)()
    assert capsys.readouterr().out == ""
    stage_command("select", summaries.pop)()
    assert capsys.readouterr().out.splitlines() == [
        "select  seed 0",
        "steps   1,200",
        "written to artifacts/genotype",
    ]


def test_a_stage_outside_of_a_clone_says_where_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline import params

    monkeypatch.chdir(tmp_path)
    with pytest.raises(MidasError, match="stages run in the root of the clone"):
        stage_command("select", lambda: params.value("seeds", list[int]))()
    assert list(tmp_path.iterdir()) == [], "no lock and no record are left there"


def test_the_outs_of_a_stage_are_those_of_dvc_yaml(clone: Path) -> None:
    assert [str(path) for path in outs_of("decode@3")] == ["artifacts/decode/seed-3/decode.json"]
    training = [path.parent for path in outs_of("train@my-net-7")]
    assert set(training) == {Path("artifacts/train/my-net/seed-7")}
    assert paths.GENOTYPE / "metrics.json" in outs_of("select")


def test_no_stage_has_a_file_of_times_among_its_outs() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for stage in stages.values():
        for entry in [*stage.get("outs", []), *stage.get("metrics", []), *stage["deps"]]:
            assert not any(name in str(entry) for name in ("cost", "latency.json")), entry
