"""Time and peak memory of a step: supernets under MIDAS and static parameters, and the final network.

    python benchmarks/step_time.py                  (a) to (d), about 20 minutes on two idle cores
    python benchmarks/step_time.py a b --runs 5     (a) the DARTS supernet, (b) NAS-Bench-201's, N5 and as in
                                                    nasbench201-cpu, (c) DARTS_V2 in training, (d) resolution and patches,
                                                    (compiled) DARTS_V2 compiled beside it
    python benchmarks/step_time.py --device cuda --precision bfloat16 --runs 50

Cases are interleaved in one process; ratios are to the first case of a table. The last line of a table compares the
multiply-adds per second of the supernet's forward pass with those of a large convolution on the same cores.
"""

import argparse
import math
import os
from dataclasses import replace

import torch

from midas.bench.cases import StepCase
from midas.bench.latency import cpu_name
from midas.bench.steps import measure, roofline, table

ARMS: list[tuple[str, str, int | None]] = [
    ("static", "darts", None),
    ("MIDAS, no patch", "midas", None),
    ("MIDAS, patch 4", "midas", 4),
    ("MIDAS, patch 8", "midas", 8),
]


def arms(space: str, cells: int, size: int) -> list[StepCase]:
    """A supernet under every arm."""
    return [StepCase(name, arm, patch, space, cells=cells, size=size) for name, arm, patch in ARMS]


def trainings(compiled: bool) -> list[StepCase]:
    """The final network at two batch sizes."""
    return [
        StepCase(
            f"batch {n}{', compiled' * compiled}", cell="darts_v2", channels=36, cells=20, batch=n, compile=compiled
        )
        for n in (32, 96)
    ]


TABLES: dict[str, list[tuple[str, list[StepCase]]]] = {
    "a": [("(a) DARTS supernet, C16, 8 cells, batch 64, 32x32", arms("darts", 8, 32))],
    "b": [
        ("(b) NAS-Bench-201 supernet, C16, N5, batch 64, 32x32", arms("nasbench201", 5, 32)),
        ("(b) as in nasbench201-cpu: N1, 16x16", arms("nasbench201", 1, 16)),
    ],
    "c": [("(c) training DARTS_V2, C36, 20 cells, 32x32", trainings(False))],
    "compiled": [("(c) compiled, which takes minutes before the first step", trainings(False) + trainings(True))],
    "d": [
        (
            "(d) MIDAS on the NAS-Bench-201 supernet, N1: resolution and patches",
            [
                StepCase(f"{size}x{size}, patch {patch or 'none'}", "midas", patch, "nasbench201", cells=1, size=size)
                for size in (16, 32, 64)
                for patch in (None, 4, 8)
            ],
        )
    ],
}


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", default=["a", "b", "c", "d"], metavar="a|b|c|d|compiled")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["float32", "tf32", "bfloat16"], default="float32")
    parser.add_argument("--graphs", action="store_true", help="on a GPU: passes are recorded and replayed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    gpu = f"{torch.cuda.get_device_name()}, {options.precision}, " if options.device == "cuda" else ""
    print(f"{gpu}{cpu_name()}, {options.threads} threads, torch {torch.__version__}, {options.runs} runs")
    where = {"device": options.device, "precision": options.precision, "cuda_graphs": options.graphs}
    for name in options.tables:
        for title, listed in TABLES[name]:
            cases = [replace(case, **where) for case in listed]
            times = measure(cases, options.runs, memory=not options.no_memory)
            print(f"\n### {title}\n{table(cases, times)}")
            print(f"\n{roofline(cases[0])}")
            if name == "d":
                small, large = (
                    next(t.median for c, t in zip(cases, times, strict=True) if c.size == s) for s in (16, 64)
                )
                print(
                    f"Exponent of the time in pixels, 16 to 64, no patch: {math.log(large / small) / math.log(16):.2f}."
                )


if __name__ == "__main__":
    main()
