"""Time and memory of one step: forward, backward and optimiser of a search or of a training, case beside case.

The cases take turns in one process, so that whatever else the machine does disturbs all alike: what counts is a ratio to
the first case. Peak memory is measured in a process of its own for each case.
"""

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from midas.bench.cases import StepCase, build_network_and_arm, build_step, random_images, wait_for
from midas.native.library import torch_alone
from midas.nets.complexity import count_macs
from midas.nets.network import MidasNet
from midas.runs import precision
from midas.runs.memory import keep_freed
from midas.search.memory import search_bytes
from midas.search.supernet import Supernet
from midas.train.config import TargetConfig
from midas.train.memory import train_bytes
from midas.train.state import new_state

_MIB = 2**20
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step over the runs; its time over the first case's in the same round, which what slows the machine for
    longer than a round cannot change; its peak memory in MiB above what the imports take (None: not measured), and the
    estimate of it.
    """

    median: float
    low: float  # the lower quartile
    high: float  # the upper quartile
    ratio: tuple[float, float, float] = (1.0, 1.0, 1.0)  # median and quartiles over the rounds
    memory: float | None = None
    estimate: float | None = None


def measure(cases: Sequence[StepCase], runs: int, memory: bool = True) -> list[StepTime]:
    """Run the cases in turns.

    Args:
        cases: what is measured.
        runs: how often each is timed, after one run that warms up, or two on a GPU, where the second records.
        memory: whether each also runs twice in a process of its own for its peak memory.
    """
    steps = [build_step(case) for case in cases]
    times: list[list[float]] = [[] for _ in cases]
    warm = 2 if cases[0].device == "cuda" else 1
    for run in range(runs + warm):
        for step, seen in zip(steps, times, strict=True):
            start = time.perf_counter()
            step()
            wait_for(cases[0].device)
            if run >= warm:
                seen.append(time.perf_counter() - start)
    peaks = [(peak_memory(case), estimated_memory(case)) if memory else (None, None) for case in cases]
    return [_summary(seen, times[0], *peak) for seen, peak in zip(times, peaks, strict=True)]


def peak_memory(case: StepCase) -> float:
    """MiB of resident memory, or of a GPU's, that two steps take above what the process had after its imports."""
    code = f"from midas.bench import steps; print(steps._own_peak(steps.StepCase(**{asdict(case)!r})))"
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def estimated_memory(case: StepCase) -> float:
    """What `peak_memory` is expected to be, as a stage asks before its first step."""
    network, arm = build_network_and_arm(case)
    if isinstance(network, Supernet) and arm is not None:
        return search_bytes(network, arm, case.size, case.batch) / _MIB
    config = TargetConfig(auxiliary_weight=0, checkpointing=case.checkpointing)
    return train_bytes(new_state(cast(MidasNet, network), config), config, case.size, case.batch) / _MIB


def convolution_speed(case: StepCase, runs: int = 5) -> float:
    """Multiply-adds per second that the case's device can do in its precision: those of a large convolution, forward
    (16 images of 256 x 32 x 32, 512 of them on a GPU; 256 filters of 3x3).
    """
    device, count = torch.device(case.device), 16 if case.device == "cpu" else 512
    conv = nn.Conv2d(256, 256, 3, padding=1, device=device).to(memory_format=torch.channels_last)
    images = torch.randn(count, 256, 32, 32, device=device).to(memory_format=torch.channels_last)
    seen = []
    with torch.no_grad(), precision.lower(case.precision, device):
        for _ in range(runs + 1):
            start = time.perf_counter()
            conv(images)
            wait_for(case.device)
            seen.append(time.perf_counter() - start)
    return count * 32 * 32 * conv.weight.numel() / min(seen[1:])


def forward_macs(case: StepCase) -> tuple[int, Callable[[], None]]:
    """Multiply-adds of a forward pass of the whole batch (convolutions and linear layers), and that pass."""
    images, device = random_images(case).to(case.device), torch.device(case.device)
    network = _Forward(case).eval()
    with torch_alone():  # the kernels' own multiply-adds would be seen by nobody
        macs = count_macs(network, (3, case.size, case.size)) * case.batch

    def step() -> None:
        with torch.inference_mode(), precision.lower(case.precision, device):
            network(images)
        wait_for(case.device)

    step()
    return macs, step


def roofline(case: StepCase, runs: int = 3) -> str:
    """Multiply-adds per second of a forward pass beside those that the device reaches in a large convolution."""
    (macs, step), seconds = forward_macs(case), []
    for _ in range(runs):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    reached, possible = macs / statistics.median(seconds), convolution_speed(case)
    return f"Forward {reached / 1e9:.1f}, large convolution {possible / 1e9:.1f} GMAC/s: {reached / possible:.0%}."


def arm_parameters(case: StepCase) -> int:
    """How many parameters the architecture itself has in a search."""
    _, arm = build_network_and_arm(case)
    return 0 if arm is None else sum(parameter.numel() for parameter in arm.parameters())


def table(cases: Sequence[StepCase], times: Sequence[StepTime]) -> str:
    """A Markdown table with ratios to the first case."""
    first = times[0]
    lines = [
        "| case | median s | quartiles | ratio | quartiles | peak MiB | ratio | estimated MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case, seen in zip(cases, times, strict=True):
        peak = "" if seen.memory is None else f"{seen.memory:.0f}"
        share = "" if seen.memory is None or not first.memory else f"{seen.memory / first.memory:.2f}"
        guess = "" if seen.estimate is None else f"{seen.estimate:.0f}"
        digits = 3 if first.median > 0.1 else 5
        spread, (ratio, low, high) = f"{seen.low:.{digits}f} to {seen.high:.{digits}f}", seen.ratio
        lines.append(
            f"| {case.name} | {seen.median:.{digits}f} | {spread} | {ratio:.2f} | {low:.2f} to {high:.2f} | {peak} | {share} "
            f"| {guess} |"
        )
    return "\n".join(lines)


class _Forward(nn.Module):
    """A case's forward pass as a module of images alone."""

    def __init__(self, case: StepCase) -> None:
        super().__init__()
        self.network, self.arm = build_network_and_arm(case)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] to logits."""
        found: Tensor = self.network(images) if self.arm is None else self.network(images, self.arm)[0]
        return found


def _summary(seen: list[float], first: list[float], peak: float | None, estimate: float | None) -> StepTime:
    ratios = [own / base for own, base in zip(seen, first, strict=True)]
    (low, median, high), (least, ratio, most) = (
        statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else (values[0],) * 3
        for values in (seen, ratios)
    )
    return StepTime(median, low, high, (ratio, least, most), peak, estimate)


def _own_peak(case: StepCase) -> float:
    """Of this process, which keeps freed memory where the stage would: see `peak_memory`."""
    if case.device == "cuda":
        step = build_step(case)
        step()
        step()
        return int(torch.cuda.max_memory_reserved() if case.cuda_graphs else torch.cuda.max_memory_allocated()) / _MIB
    if case.cell is not None:
        keep_freed()
    if _STATUS.is_file():
        _CLEAR.write_text("5")  # the peak becomes what is resident now
    before = _peak()
    step = build_step(case)
    step()
    step()
    return (_peak() - before) / _MIB


def _peak() -> int:
    """The largest resident set so far, in bytes; on Linux since it was last cleared."""
    if _STATUS.is_file():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
