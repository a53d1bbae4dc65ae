"""Latency: both runtimes are timed on the same batches, and what was measured is said."""

import shutil
from pathlib import Path

import pytest
import torch
from model_folders import SIZE

import midas_cli
from midas.bench.latency import latency
from midas.deploy.folder import open_model_folder
from midas.runs.errors import ExportError


def test_all_runtimes_are_measured_equally_often_at_each_batch_and_number_of_threads(shipped: Path) -> None:
    threads = torch.get_num_threads()
    model, path = open_model_folder(shipped)[0], shipped / "model.onnx"
    found = latency(model, path, (3, SIZE, SIZE), (1, 4), threads=(2, 1), seconds=0.02, variants={"int8": path})
    assert torch.get_num_threads() == threads
    assert [(row["threads"], row["batch"]) for row in found["results"]] == [(2, 1), (2, 4), (1, 1), (1, 4)]
    names = ("torch", "torch_channels_last", "onnxruntime", "onnxruntime_int8")
    for row in found["results"]:
        assert len({row[name]["runs"] for name in names}) == 1
        assert row["torch"]["runs"] >= 5
        assert all(0 < row[name]["p50_ms"] <= row[name]["p95_ms"] for name in names)
    assert found["versions"]["torch"] == torch.__version__
    assert found["cpu"]


def test_the_command_prints_a_row_for_each_batch_and_number_of_threads(
    shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    midas_cli.bench_onnx(shipped, seconds=0.02)
    head, _, *rows, _, said = capsys.readouterr().out.splitlines()
    assert head == "| threads | batch | torch | torch_channels_last | onnxruntime |"
    assert [row.split(" | ")[1] for row in rows][:3] == ["1", "8", "32"]
    assert f"torch {torch.__version__}" in said


def test_a_folder_without_a_whole_file_is_refused_in_one_line(shipped: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(shipped, tmp_path / "small"))
    (folder / "model.onnx").write_bytes((shipped / "model.onnx").read_bytes()[:999])
    with pytest.raises(ExportError, match="truncated or not an ONNX model"):
        midas_cli.bench_onnx(folder)
