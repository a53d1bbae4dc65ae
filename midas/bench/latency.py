"""How long one batch takes: torch as it is run by default, and onnxruntime, on the same machine at the same time."""

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

WARM_UP, LEAST_RUNS = 2, 5
_CPUINFO = Path("/proc/cpuinfo")


def latency(
    model: nn.Module,
    path: Path,
    input_size: tuple[int, int, int],
    batches: Sequence[int] = (1, 32),
    threads: int = 2,
    seconds: float = 1.0,
) -> dict[str, Any]:
    """Measure a network and its ONNX file, in turns, so that whatever else the machine does disturbs both alike.

    Args:
        model: the network, in evaluation mode, on the CPU.
        path: its ONNX file, with input ``image``.
        input_size: (3, H, W) of an image.
        batches: how many images a call gets.
        threads: of each runtime.
        seconds: how long each batch size is measured.

    Returns:
        For each batch size the median and the 95th percentile of a call in milliseconds; hardware and versions.
    """
    session = _session(path, threads)
    generator = torch.Generator().manual_seed(0)
    results = []
    with _torch_threads(threads), torch.inference_mode():
        for batch in batches:
            images = torch.randn(batch, *input_size, generator=generator)
            calls: dict[str, Callable[[], object]] = {
                "torch": partial(model, images),
                "onnxruntime": partial(session.run, None, {"image": images.numpy()}),
            }
            results.append({"batch": batch, **_measure(calls, seconds)})
    return {"cpu": cpu_name(), "cores": os.cpu_count(), "threads": threads, "results": results, "versions": _versions()}


def cpu_name() -> str:
    """The processor as the system names it."""
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _measure(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, dict[str, float]]:
    """Run the calls in turns for some seconds; median and 95th percentile of each in milliseconds."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in [*calls.values()] * WARM_UP:
        call()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < LEAST_RUNS:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {
        name: {"p50_ms": _percentile(values, 50), "p95_ms": _percentile(values, 95), "runs": len(values)}
        for name, values in times.items()
    }


def _percentile(values: list[float], percent: int) -> float:
    """A percentile, to the microsecond."""
    return round(float(np.percentile(values, percent)), 3)


def _session(path: Path, threads: int) -> Any:
    """The ONNX file in onnxruntime with that many threads."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    """torch with that many threads; as it was afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _versions() -> dict[str, str]:
    """What was measured with."""
    return {"python": platform.python_version(), "torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
