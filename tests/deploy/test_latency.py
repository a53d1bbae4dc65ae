"""Latency: both runtimes are timed on the same batches, and what was measured is said."""

from pathlib import Path

import torch
from model_folders import SIZE

from midas.bench.latency import latency
from midas.deploy.folder import open_model_folder


def test_both_runtimes_are_measured_equally_often_at_each_batch(shipped: Path) -> None:
    threads = torch.get_num_threads()
    model = open_model_folder(shipped)[0]
    found = latency(model, shipped / "model.onnx", (3, SIZE, SIZE), batches=(1, 4), threads=2, seconds=0.05)
    assert torch.get_num_threads() == threads
    assert [row["batch"] for row in found["results"]] == [1, 4]
    for row in found["results"]:
        assert row["torch"]["runs"] == row["onnxruntime"]["runs"] >= 5
        assert all(0 < row[name]["p50_ms"] <= row[name]["p95_ms"] for name in ("torch", "onnxruntime"))
    assert (found["threads"], found["versions"]["torch"]) == (2, torch.__version__)
    assert found["cpu"]
