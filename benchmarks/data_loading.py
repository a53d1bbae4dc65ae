"""How long images take: an epoch of CIFAR-10's augmentation alone, and its share of a search step.

    python benchmarks/data_loading.py --root CIFAR

CIFAR is the folder that holds cifar-10-batches-py. The epoch is that of the final training (crop with padding 4, mirror, cutout
of 16, normalisation) over all 50,000 training images; a search step takes two batches of 64 with crop and mirror, at the sizes of
benchmarks/step_time.py. Images lie in memory as bytes, as in every stage.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch
from short_training import prepared

from midas.bench.cases import StepCase, build_step
from midas.bench.latency import cpu_name
from midas.data.augment import Augment, AugmentConfig
from midas.data.batches import epoch_batches
from midas.data.config import DataConfig
from midas.data.prepared import load_split
from midas.runs import seeding

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
CASES = [
    StepCase("(a) DARTS supernet, C16, 8 cells, 32x32", "midas", 4, "darts"),
    StepCase("(b) NAS-Bench-201 supernet, C16, N5, 32x32", "midas", 4, "nasbench201", cells=5),
    StepCase("(b) as in nasbench201-cpu: N1, 16x16", "midas", 4, "nasbench201", cells=1, size=16),
]


def batches(images: torch.Tensor, config: AugmentConfig, size: int, count: int | None = None) -> Callable[[], None]:
    """A pass over the images, or over the first `count` batches."""
    augment = Augment(config, MEAN, STD)
    order = epoch_batches(len(images), size, 0, 0)[:count]

    def run() -> None:
        for step, index in enumerate(order):
            augment(images[index], seeding.generator(0, "augment", step))

    return run


def seconds(work: Callable[[], None], runs: int) -> list[float]:
    """Of each run, after one that warms up."""
    seen = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        work()
        seen.append(time.perf_counter() - start)
    return seen[1:]


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = prepared("cifar10", DataConfig(source="cifar10", root=options.root))
    images = torch.cat([load_split(folder / f"{name}.safetensors").images for name in ("train", "val")])
    print(f"{cpu_name()}, {options.threads} threads, torch {torch.__version__}, {options.runs} runs\n")
    epoch = seconds(batches(images, AugmentConfig(pad=4, flip=True, cutout=16), 96), options.runs)
    print(
        f"An epoch of {len(images):,} images: {statistics.median(epoch):.2f} s ({min(epoch):.2f} to {max(epoch):.2f})."
    )
    print("\n| search step, batch 64 | step, s | its images, s | share |\n|---|---|---|---|")
    for case in CASES:
        small = torch.nn.functional.interpolate(images[:12_800].float(), size=case.size).byte()
        small = small.contiguous(memory_format=torch.channels_last)
        load = statistics.median(seconds(batches(small, AugmentConfig(pad=4, flip=True), 64, 2), options.runs))
        step = statistics.median(seconds(build_step(case), options.runs))
        print(f"| {case.name} | {step:.3f} | {load:.4f} | {load / (load + step):.1%} |")


if __name__ == "__main__":
    main()
