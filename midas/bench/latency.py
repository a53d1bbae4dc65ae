"""How long one batch takes: torch, torch with channels last, and each ONNX file, on one machine at the same time."""

import copy
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

WARM_UP, LEAST_RUNS = 2, 5
BLOCK = 4  # calls of one runtime in a row, the first of which is not counted
_CPUINFO = Path("/proc/cpuinfo")


def latency(
    model: nn.Module,
    path: Path,
    input_size: tuple[int, int, int],
    batches: Sequence[int] = (1, 8, 32),
    threads: Sequence[int] | None = None,
    seconds: float = 0.5,
    variants: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """Measure a network and its ONNX files, in turns, so that whatever else the machine does disturbs all alike.

    Args:
        model: the network, in evaluation mode, on the CPU.
        path: its ONNX file, with input ``image``.
        input_size: (3, H, W) of an image.
        batches: how many images a call gets.
        threads: of each runtime; all cores and one by default.
        seconds: how long each batch size is measured with each number of threads.
        variants: further ONNX files by name, e.g. int8.

    Returns:
        For each number of threads and batch size the median and the 95th percentile of a call in milliseconds, under
        ``torch``, ``torch_channels_last``, ``onnxruntime`` and ``onnxruntime_NAME``; hardware and versions.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    onnx_files = {"onnxruntime": path, **{f"onnxruntime_{name}": file for name, file in (variants or {}).items()}}
    channels_last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    results = []
    for count in threads or sorted({cores, 1}, reverse=True):
        sessions = {name: _session(file, count) for name, file in onnx_files.items()}
        with _torch_threads(count), torch.inference_mode():
            for batch in batches:
                images = torch.zeros(batch, *input_size)
                calls: dict[str, Callable[[], object]] = {
                    "torch": partial(model, images),
                    "torch_channels_last": partial(channels_last, images.contiguous(memory_format=torch.channels_last)),
                }
                for name, session in sessions.items():
                    calls[name] = partial(session.run, None, {"image": _example(session, batch, input_size)})
                results.append({"batch": batch, "threads": count, **_measure(calls, seconds)})
    return {"cpu": cpu_name(), "cores": cores, "results": results, "versions": _versions()}


def table(found: Mapping[str, Any]) -> str:
    """What `latency` measured as a Markdown table: the median of a call in milliseconds, and the 95th percentile."""
    runtimes = [name for name in found["results"][0] if name not in ("batch", "threads")]
    lines = [["threads", "batch", *runtimes], ["---"] * (2 + len(runtimes))]
    for row in found["results"]:
        times = [f"{row[name]['p50_ms']:.2f} ({row[name]['p95_ms']:.2f})" for name in runtimes]
        lines.append([str(row["threads"]), str(row["batch"]), *times])
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    rows = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{rows}\n\nMilliseconds, median (95th percentile): {found['cpu']}, {found['cores']} cores, {versions}"


def cpu_name() -> str:
    """The processor as the system names it."""
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _measure(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, dict[str, float]]:
    """Run blocks of the calls in turns for some seconds; median and 95th percentile of each in milliseconds.

    The first call of a block is not counted: it pays for caches and threads that the runtime before it has left.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in [*calls.values()] * WARM_UP:
        call()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < LEAST_RUNS:
        for name, call in calls.items():
            for run in range(BLOCK):
                start = time.perf_counter()
                call()
                if run > 0:
                    times[name].append((time.perf_counter() - start) * 1e3)
    return {
        name: {"p50_ms": _percentile(values, 50), "p95_ms": _percentile(values, 95), "runs": len(values)}
        for name, values in times.items()
    }


def _percentile(values: list[float], percent: int) -> float:
    """A percentile, to the microsecond."""
    return round(float(np.percentile(values, percent)), 3)


def _example(session: Any, batch: int, size: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    """Images as a file takes them: normalised floats or pixels, channels first or last."""
    taken = session.get_inputs()[0]
    shape = (*size[1:], size[0]) if taken.shape[-1] == size[0] else size
    return np.zeros((batch, *shape), np.uint8 if taken.type == "tensor(uint8)" else np.float32)


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
