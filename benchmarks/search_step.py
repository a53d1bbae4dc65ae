"""Time of one search step: forward, architecture step and weight step of the supernet, MIDAS and static arm in turns.

    python benchmarks/search_step.py --channels 8 --cells 3 --size 16 --threads 1

The arms are interleaved in one process, so that whatever else the machine does disturbs both alike; medians are printed
and their ratio. To compare waiting policies of OpenMP set GOMP_SPINCOUNT or OMP_WAIT_POLICY before starting it.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from midas.search.bilevel import build_search
from midas.search.config import SearchConfig
from midas.spaces import get_space


def steps(arm: str, options: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """The three things that are timed, for one arm, on random images."""
    config = SearchConfig(arm=arm, channels=options.channels, cells=options.cells, patch_size=options.patch)
    supernet, weigh = build_search(get_space(options.space).without(config.exclude), config, num_classes=10, seed=0)
    images = torch.randn(options.batch, 3, options.size, options.size).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (options.batch,))

    def forward() -> None:
        with torch.no_grad():
            supernet(images, weigh)

    def backward(learning: torch.nn.Module, fixed: torch.nn.Module) -> None:
        learning.requires_grad_(True).zero_grad()
        fixed.requires_grad_(False)
        F.cross_entropy(supernet(images, weigh)[0], labels).backward()  # type: ignore[no-untyped-call]

    return {
        "forward": forward,
        "architecture step": lambda: backward(weigh, supernet),
        "weight step": lambda: backward(supernet, weigh),
    }


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (
        ("channels", 16),
        ("cells", 8),
        ("size", 32),
        ("batch", 64),
        ("patch", 4),
        ("threads", 2),
        ("runs", 7),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--space", default="darts")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    arms = {arm: steps(arm, options) for arm in ("midas", "darts")}
    times: dict[tuple[str, str], list[float]] = {}
    for run in range(options.runs + 1):
        for arm, work in arms.items():
            for name, step in work.items():
                start = time.perf_counter()
                step()
                if run:  # the first run warms up
                    times.setdefault((arm, name), []).append(time.perf_counter() - start)
    print(f"{options}\n\n| step | MIDAS, ms | static, ms | ratio |\n|---|---|---|---|")
    for name in arms["midas"]:
        midas, static = (statistics.median(times[arm, name]) * 1e3 for arm in ("midas", "darts"))
        print(f"| {name} | {midas:.0f} | {static:.0f} | {midas / static:.2f} |")


if __name__ == "__main__":
    main()
