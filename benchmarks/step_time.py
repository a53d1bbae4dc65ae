"""Time and memory of a step: searches by MIDAS beside static parameters, and a final training.

    python benchmarks/step_time.py                 all tables, about 15 minutes on two idle cores
    python benchmarks/step_time.py b c --runs 15
    python benchmarks/step_time.py a --device cuda --graphs --precision bfloat16

(a) is the DARTS supernet, (b) NAS-Bench-201's at the paper's size, (c) that of nasbench201-cpu, (d)
the training of DARTS_V2. A step is the product's own: of a search an architecture step and a weight
step. Cases take turns in one process, so that whatever else the machine does disturbs all alike; a
ratio is to the first case's time in the same round. Quartiles stand in brackets. Peak memory, above
what the imports take, is measured in a process of its own for each case (CPU: Linux only). Prints
Markdown.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from midas.data.config import AugmentConfig
from midas.data.prepared import DataMeta, Split
from midas.deploy.latency import cpu_name
from midas.engine import seeding
from midas.engine.distributed import Distributed
from midas.engine.memory import keep_freed
from midas.genotype import Genotype
from midas.search.bilevel import BilevelSearch, BilevelSplit
from midas.search.config import SearchConfig
from midas.search.run import build_search
from midas.spaces import get_space
from midas.train.config import TargetConfig
from midas.train.start import initial_network
from midas.train.training import Training
from midas.zoo.registry import ZOO

CLASSES = tuple(map(str, range(10)))
DARTS_V2 = Genotype.from_value(ZOO["darts_v2"]["genotype"])


@dataclass(frozen=True)
class StepCase:
    """A search of a space, or the training of DARTS_V2."""

    name: str
    config: SearchConfig | TargetConfig
    size: int = 32
    space: str = "darts"


def searches(space: str, cells: int, size: int) -> list[StepCase]:
    """A supernet with static parameters first, then by MIDAS with three sizes of patches."""
    config = SearchConfig(cells=cells)
    static = config.model_copy(update={"method": "darts"})
    cases = [StepCase("static", static, size, space)]
    for name, patch in (("no patch", None), ("patch 4", 4), ("patch 8", 8)):
        patched = config.model_copy(update={"patch_size": patch})
        cases.append(StepCase(f"MIDAS, {name}", patched, size, space))
    return cases


def trainings() -> list[StepCase]:
    """The network at its published size, in two sizes of batches."""
    plain: dict[str, Any] = {"drop_path": 0, "auxiliary_weight": 0, "augment": AugmentConfig()}
    return [StepCase(f"batch {n}", TargetConfig(batch_size=n, **plain)) for n in (32, 96)]


TABLES = {
    "a": ("DARTS supernet, C16, 8 cells, 32x32", searches("darts", 8, 32)),
    "b": ("NAS-Bench-201 supernet, C16, N5, 32x32", searches("nasbench201", 5, 32)),
    "c": ("as in nasbench201-cpu: C16, N1, 16x16", searches("nasbench201", 1, 16)),
    "d": ("training DARTS_V2, C36, 20 cells, 32x32", trainings()),
}


def build_step(case: StepCase, device: str = "cpu") -> Callable[[], None]:
    """A step as a function, which waits until a GPU has done it. The images are random."""
    torch.manual_seed(0)
    config = case.config
    count = 4 * config.batch_size  # more than a batch in each half
    pixels = torch.randint(0, 256, (count, 3, case.size, case.size), dtype=torch.uint8)
    labels = torch.arange(count) % len(CLASSES)
    images = Split(pixels.to(memory_format=torch.channels_last), labels)
    meta = DataMeta(CLASSES, case.size, (0.5,) * 3, (0.25,) * 3, {}, "", "random", {}, 0)
    processes = Distributed(device=torch.device(device))
    job: BilevelSearch | Training
    if isinstance(config, TargetConfig):
        network = initial_network(DARTS_V2, config, len(CLASSES)).to(device)
        job = Training(network, config, images, images, meta, case.name, processes, seed=0)
    else:
        space = get_space(case.space).without(config.exclude)
        supernet, method = build_search(space, config, len(CLASSES), seed=0)
        supernet.to(device)
        method.to(device)
        split = BilevelSplit(images, config)
        job = BilevelSearch(supernet, method, config, split, meta, 0, processes)
    job.begin_epoch(0, 0)

    def step() -> None:
        job.step(0, 0)
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def take_turns(steps: Sequence[Callable[[], None]], runs: int) -> list[list[float]]:
    """The seconds of so many calls of each function, in turns, after two that warm up."""
    times: list[list[float]] = [[] for _ in steps]
    for run in range(runs + 2):
        for step, seconds in zip(steps, times, strict=True):
            start = time.perf_counter()
            step()
            if run >= 2:
                seconds.append(time.perf_counter() - start)
    return times


def compared(times: Sequence[float], first: Sequence[float]) -> tuple[str, str]:
    """Median and quartiles of seconds, and of their ratios to the first ones of the same round."""
    ratios = [seconds / base for seconds, base in zip(times, first, strict=True)]
    low, median, high = np.quantile(times, (0.25, 0.5, 0.75))
    least, ratio, most = np.quantile(ratios, (0.25, 0.5, 0.75))
    seconds = f"{median:.4f} ({low:.4f} to {high:.4f})"
    return seconds, f"{ratio:.2f} ({least:.2f} to {most:.2f})"


def _peak_resident() -> int:
    """The largest resident set of this process in bytes, since it was last cleared."""
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024


def peak_memory(case: StepCase, device: str) -> float:
    """MiB of resident memory, or of a GPU's, that two steps take above what the imports took."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as executor:
        return executor.submit(_own_peak, case, device).result() / 2**20


def _own_peak(case: StepCase, device: str) -> int:
    """The same of this process, in bytes."""
    if isinstance(case.config, TargetConfig):
        keep_freed()  # as the stage does
    if device == "cpu":
        Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what is resident now
    before = _peak_resident()
    step = build_step(case, device)
    step()
    step()
    if device == "cuda":  # a graph's memory is reserved, and not counted as allocated
        return torch.cuda.max_memory_reserved()
    return _peak_resident() - before


def table(cases: Sequence[StepCase], times: Sequence[list[float]], peaks: list[float]) -> str:
    """A Markdown table; without peaks it has no columns of memory."""
    memory = [f" {peak:.0f} | {peak / peaks[0]:.2f} |" for peak in peaks] or [""] * len(cases)
    lines = ["| case | seconds | ratio |" + " peak MiB | ratio |" * bool(peaks)]
    lines.append("|---|---|---|" + "---|---|" * bool(peaks))
    for case, seconds, columns in zip(cases, times, memory, strict=True):
        lines.append(f"| {case.name} | {' | '.join(compared(seconds, times[0]))} |{columns}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="*", default=list(TABLES), metavar="a|b|c|d")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--batch", type=int, help="of every case; by default 64, in (d) 32 and 96")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["float32", "tf32", "bfloat16"], default="float32")
    parser.add_argument("--graphs", action="store_true", help="on a GPU: record and replay passes")
    options = parser.parse_args()
    seeding.deterministic()
    torch.set_num_threads(options.threads)
    device = torch.cuda.get_device_name() if options.device == "cuda" else cpu_name()
    print(f"{device}, {options.precision}, {options.threads} threads, torch {torch.__version__}")
    changes = {"precision": options.precision, "cuda_graphs": options.graphs}
    changes |= {"batch_size": options.batch} if options.batch else {}
    for name in options.tables:
        title, listed = TABLES[name]
        cases = [replace(c, config=c.config.model_copy(update=changes)) for c in listed]
        times = take_turns([build_step(case, options.device) for case in cases], options.runs)
        measured = [] if options.no_memory else cases
        peaks = [peak_memory(case, options.device) for case in measured]
        print(f"\n({name}) {title}, {options.runs} runs\n", flush=True)
        print(table(cases, times, peaks), flush=True)


if __name__ == "__main__":
    main()
