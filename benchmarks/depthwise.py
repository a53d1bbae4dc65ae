"""The gradient of a depthwise kernel by `midas.spaces.depthwise.weight_gradient` and by torch's own, in turns, as Markdown.

    python benchmarks/depthwise.py --threads 1 --runs 9        a minute

Maps are those of the supernet and of final networks, channels last, batches of 64. The milliseconds are medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from midas.bench.latency import cpu_name
from midas.spaces.depthwise import weight_gradient

MAPS = ((16, 32), (36, 32), (32, 16), (64, 8), (8, 16), (16, 8), (32, 4))  # channels and side
KERNELS = ((5, 1), (7, 1), (3, 2), (5, 2))  # side and dilation; 3x3 of dilation 1 is torch's own in both


def own(x: Tensor, gradient: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """As autograd would ask for it."""
    padding = [dilation * (weight.shape[-1] - 1) // 2] * 2
    result: Tensor = torch.ops.aten.convolution_backward(
        gradient,
        x,
        weight,
        None,
        [1, 1],
        padding,
        [dilation] * 2,
        False,
        [0, 0],
        weight.shape[0],
        [False, True, False],
    )[1]
    return result


def timed(run: Callable[[], Tensor]) -> float:
    """Milliseconds of one run."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(
        f"{cpu_name()}, {torch.backends.cpu.get_cpu_capability()}, {options.threads} threads, torch {torch.__version__}\n"
    )
    print("| channels | map | kernel | dilation | torch's, ms | ours, ms | ratio | difference / largest |")
    print("|---|---|---|---|---|---|---|---|")
    for channels, side in MAPS:
        for kernel, dilation in KERNELS:
            x, gradient = (
                torch.randn(64, channels, side, side).to(memory_format=torch.channels_last) for _ in range(2)
            )
            weight = torch.randn(channels, 1, kernel, kernel)
            theirs = partial(own, x, gradient, weight, dilation)
            ours = partial(weight_gradient, x, gradient, weight, dilation)
            expected = theirs()
            difference = float((ours() - expected).abs().max() / expected.abs().max())
            turns = [(timed(theirs), timed(ours)) for _ in range(options.runs)]
            slow, fast = (statistics.median(times) for times in zip(*turns, strict=True))
            print(
                f"| {channels} | {side} | {kernel} | {dilation} | {slow:.2f} | {fast:.2f} | {fast / slow:.2f} | {difference:.0e} |"
            )


if __name__ == "__main__":
    main()
