"""Latency: the time of a batch in torch, in torch with channels last, and in each ONNX file."""

import copy
import os
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

from midas.deploy.export import INPUT
from midas.deploy.export_folder import MODEL, find_variants
from midas.deploy.runtimes import open_session
from midas.io import files
from midas.zoo.model_folder import open_model_folder

LATENCY = "latency.json"
WARM_UP = 2  # untimed calls of each runtime at the start
MIN_RUNS = 5
BLOCK = 4  # calls of one runtime in a row
Calls = dict[str, Callable[[], object]]


def known_latency(folder: Path) -> dict[str, Any]:
    """The latency of a model folder, measured now if latency.json is missing or of another file."""
    if (folder / LATENCY).is_file():
        known: dict[str, Any] = files.read_json(folder / LATENCY)
        if known.get("sha256") == files.sha256(folder / MODEL):
            return known
    return measure_latency(folder)


def measure_latency(folder: Path, seconds: float = 0.5, write: bool = True) -> dict[str, Any]:
    """Time the network of a model folder and its ONNX files; with `write`, write latency.json.

    A folder that is incomplete is a ModelFolderError, an ONNX file that is damaged a ParityError.
    """
    model, config = open_model_folder(folder)
    size = tuple(config["pretrained_cfg"]["input_size"])
    variants = find_variants(folder)
    measured = latency(model, folder / MODEL, size, seconds=seconds, variants=variants)
    measured["sha256"] = files.sha256(folder / MODEL)
    if write:
        files.write_json(folder / LATENCY, measured)
    return measured


def latency(
    model: nn.Module,
    path: Path,
    input_size: tuple[int, int, int],
    batches: Sequence[int] = (1, 8, 32),
    threads: Sequence[int] | None = None,
    seconds: float = 0.5,
    variants: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """Time a network and its ONNX files in turns, so that other load slows all of them equally.

    The `results` have, for each number of threads (by default all cores, and one) and images in a
    batch, the median and the 95th percentile of a call of each runtime, in milliseconds.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # macOS and Windows have none
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    onnx_files = {"onnxruntime": path}
    onnx_files |= {f"onnxruntime_{name}": file for name, file in (variants or {}).items()}
    channels_last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    results = []
    torch_threads = torch.get_num_threads()
    try:
        for count in threads or sorted({cores, 1}, reverse=True):
            torch.set_num_threads(count)
            sessions = {name: open_session(file, count) for name, file in onnx_files.items()}
            for batch in batches:
                images = torch.zeros(batch, *input_size)
                images_last = images.contiguous(memory_format=torch.channels_last)
                calls: Calls = {"torch": partial(model, images)}
                calls["torch_channels_last"] = partial(channels_last, images_last)
                for name, session in sessions.items():
                    inputs = {INPUT: _example(session, batch, input_size)}
                    calls[name] = partial(session.run, None, inputs)
                results.append({"batch": batch, "threads": count, **_measure(calls, seconds)})
    finally:
        torch.set_num_threads(torch_threads)
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
    return {"cpu": cpu_name(), "cores": cores, "results": results, "versions": versions}


def table(measured: Mapping[str, Any]) -> str:
    """The value of `latency` as a Markdown table: median and 95th percentile in milliseconds."""
    results = measured["results"]
    runtimes = [name for name in results[0] if name not in ("batch", "threads")]
    lines = [["threads", "batch", *runtimes], ["---"] * (2 + len(runtimes))]
    for row in results:
        times = [f"{row[name]['p50_ms']:.2f} ({row[name]['p95_ms']:.2f})" for name in runtimes]
        lines.append([str(row["threads"]), str(row["batch"]), *times])
    rows = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    versions = ", ".join(f"{name} {version}" for name, version in measured["versions"].items())
    machine = f"{measured['cpu']}, {measured['cores']} cores, {versions}"
    return f"{rows}\n\nMilliseconds, median (95th percentile): {machine}"


def cpu_name() -> str:
    """The processor as the system names it."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    named = re.search(r"^model name\s*: *(.+)", text, re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


@torch.inference_mode()
def _measure(calls: Calls, seconds: float) -> dict[str, dict[str, float]]:
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in [*calls.values()] * WARM_UP:
        call()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < MIN_RUNS:
        for name, call in calls.items():
            call()  # not timed: the runtime before it left its own caches and threads
            for _ in range(BLOCK - 1):
                start = time.perf_counter()
                call()
                times[name].append((time.perf_counter() - start) * 1e3)
    result = {}
    for name, values in times.items():
        p50, p95 = np.percentile(values, (50, 95)).round(3).tolist()
        result[name] = {"p50_ms": p50, "p95_ms": p95, "runs": len(values)}
    return result


def _example(session: Any, batch: int, size: tuple[int, int, int]) -> np.ndarray:
    graph_input = session.get_inputs()[0]
    channels, *sides = size
    shape = (*sides, channels) if graph_input.shape[-1] == channels else size
    dtype = np.uint8 if graph_input.type == "tensor(uint8)" else np.float32
    return np.zeros((batch, *shape), dtype)
