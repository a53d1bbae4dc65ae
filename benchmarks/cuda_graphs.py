"""What CUDA graphs, precision and memory layout make of a search step on a GPU.

    python benchmarks/cuda_graphs.py                 (a) the DARTS supernet, (b) NAS-Bench-201's, static and MIDAS, patches of 4

Milliseconds of a step, an architecture and a weight step, one setting after the other: every kernel started by itself;
recorded and replayed (`cuda_graphs`), in float32 and bfloat16, in channels_last memory, as the stages compute, and not.
"""

import argparse
import statistics
import time
from dataclasses import replace

import torch
from torch import Tensor, nn

from midas.bench import cases
from midas.bench.cases import StepCase, build_step, wait_for
from midas.search.arms import Arm

SUPERNETS = {
    "(a) static": StepCase("a", "darts", None),
    "(a) MIDAS, patch 4": StepCase("a", "midas", 4),
    "(b) static": StepCase("b", "darts", None, "nasbench201", cells=5),
    "(b) MIDAS, patch 4": StepCase("b", "midas", 4, "nasbench201", cells=5),
}


def median(case: StepCase, runs: int) -> float:
    """Of a step, in milliseconds; the first three, in which a pass is recorded, are not counted."""
    step, seen = build_step(case), []
    for _ in range(3 + runs):
        start = time.perf_counter()
        step()
        wait_for(case.device)
        seen.append(time.perf_counter() - start)
    return 1000 * statistics.median(seen[3:])


def usual_layout() -> None:
    """From now on networks and images lie in torch's usual layout."""
    network_and_arm, images = cases.build_network_and_arm, cases.random_images

    def build(case: StepCase) -> tuple[nn.Module, Arm | None]:
        network, arm = network_and_arm(case)
        return network.to(memory_format=torch.contiguous_format), arm

    def random_images(case: StepCase) -> Tensor:
        return images(case).contiguous()

    cases.build_network_and_arm, cases.random_images = build, random_images


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--supernets", nargs="+", default=list(SUPERNETS), choices=list(SUPERNETS), metavar="NAME")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print("| supernet | layout | float32 | float32, replayed | bfloat16, replayed |\n|---|---|---|---|---|")
    for layout in ("channels_last", "usual"):
        if layout == "usual":
            usual_layout()
        for name in options.supernets:
            case = replace(SUPERNETS[name], device=options.device)
            recorded = replace(case, cuda_graphs=True)
            ways = (case, recorded, replace(recorded, precision="bfloat16"))
            times = " | ".join(f"{median(way, options.runs):.1f}" for way in ways)
            print(f"| {name} | {layout} | {times} |", flush=True)


if __name__ == "__main__":
    main()
