"""Latency: all runtimes are timed on the same batches, and the command prints every figure."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from model_folders import SIZE

import midas_cli
from midas.deploy.latency import known_latency, latency, measure_latency
from midas.io.errors import ExportError
from midas.io.files import sha256
from midas.zoo.model_folder import open_model_folder


@pytest.fixture
def folder(shipped: Path, tmp_path: Path) -> Path:
    """A copy of the shipped folder that a test may change."""
    return Path(shutil.copytree(shipped, tmp_path / "small"))


def test_all_runtimes_are_measured_equally_often_at_each_batch_and_number_of_threads(
    shipped: Path,
) -> None:
    threads = torch.get_num_threads()
    model = open_model_folder(shipped)[0]
    path = shipped / "model.onnx"
    measured = latency(
        model, path, (3, SIZE, SIZE), (1, 4), threads=(2, 1), seconds=0.02, variants={"int8": path}
    )
    assert torch.get_num_threads() == threads
    cases = [(row["threads"], row["batch"]) for row in measured["results"]]
    assert cases == [(2, 1), (2, 4), (1, 1), (1, 4)]
    names = ("torch", "torch_channels_last", "onnxruntime", "onnxruntime_int8")
    for row in measured["results"]:
        assert len({row[name]["runs"] for name in names}) == 1
        assert row["torch"]["runs"] >= 5
        assert all(0 < row[name]["p50_ms"] <= row[name]["p95_ms"] for name in names)
    assert measured["versions"]["torch"] == torch.__version__
    assert measured["cpu"]


def test_a_folder_keeps_the_latency_of_its_file(folder: Path) -> None:
    measured = measure_latency(folder, seconds=0.02)
    assert measured["sha256"] == sha256(folder / "model.onnx")
    assert known_latency(folder) == measured == json.loads((folder / "latency.json").read_text())


def test_the_latency_of_another_file_is_measured_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "latency.json").write_text('{"sha256": "of another file"}')
    monkeypatch.setattr("midas.deploy.latency._measure", lambda calls, seconds: {"calls": 1})
    measured = known_latency(folder)
    assert measured["sha256"] == sha256(folder / "model.onnx")
    assert json.loads((folder / "latency.json").read_text()) == measured


def test_the_command_prints_a_row_for_each_batch_and_number_of_threads(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    midas_cli.bench_onnx(folder, seconds=0.02)
    header, _, *rows, _, footer = capsys.readouterr().out.splitlines()
    assert header == "| threads | batch | torch | torch_channels_last | onnxruntime |"
    assert [row.split(" | ")[1] for row in rows][:3] == ["1", "8", "32"]
    assert f"torch {torch.__version__}" in footer
    assert not (folder / "latency.json").exists()


def test_a_folder_without_a_whole_file_is_refused_in_one_line(folder: Path) -> None:
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:999])
    with pytest.raises(ExportError, match="truncated or not an ONNX model"):
        midas_cli.bench_onnx(folder)
