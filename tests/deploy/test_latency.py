"""Latency: both runtimes are timed on the same batches, and what was measured is said."""

from pathlib import Path

import torch
from model_folders import SIZE

from midas.bench.latency import latency
from midas.deploy.folder import open_model_folder


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
