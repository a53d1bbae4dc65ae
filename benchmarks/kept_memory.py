"""A training step where freed memory is kept for the next one (`midas.runs.memory.keep_freed`, as in stage `train`) and not.

    python benchmarks/kept_memory.py --batches 128 64 --rounds 3 --threads 1

The setting is one of a whole process, so each measurement has a process of its own, and the two take turns. The network is
that of DARTS_V2 with 24 channels and 5 cells at 32x32. Page faults are those of a step.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time

STEPS = 5


def measure(batch: int, threads: int, kept: bool) -> tuple[float, int, int]:
    """Median seconds and page faults of a step, and the peak of resident memory in MiB; of this process."""
    import torch

    from midas.bench.cases import StepCase, build_step
    from midas.runs.memory import keep_freed

    if kept and not keep_freed():
        sys.exit("kept_memory.py: this C library has no mallopt")
    torch.set_num_threads(threads)
    step = build_step(StepCase("training", cell="darts_v2", channels=24, cells=5, batch=batch))
    step()
    step()
    faults, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, []
    for _ in range(STEPS):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return statistics.median(seconds), (usage.ru_minflt - faults) // STEPS, usage.ru_maxrss // 1024


def main() -> None:
    """Measure in turns and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", nargs="+", type=int, default=[128, 64, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", nargs=2, type=int, metavar=("BATCH", "KEPT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(*measure(options.one[0], options.threads, bool(options.one[1])))
        return
    print(
        "| batch | kept: ms an image | as it is | ratio, each round | page faults a step, kept and not | peak MiB, kept and not |"
    )
    print("|---|---|---|---|---|---|")
    for batch in options.batches:
        seen: list[list[tuple[float, ...]]] = [[], []]
        for turn in range(options.rounds):
            for kept in (turn % 2, 1 - turn % 2):  # neither always first
                own = [sys.executable, __file__, "--threads", str(options.threads), "--one", str(batch), str(kept)]
                out = subprocess.run(own, check=True, capture_output=True, text=True).stdout
                seen[kept].append(tuple(float(value) for value in out.split()))
        plain, kept_ = ([1000 * one[0] / batch for one in each] for each in seen)
        ratios = ", ".join(f"{b / a:.2f}" for a, b in zip(plain, kept_, strict=True))
        faults, peaks = ([f"{statistics.median(one[n] for one in each):.0f}" for each in seen[::-1]] for n in (1, 2))
        times = f"{statistics.median(kept_):.1f} | {statistics.median(plain):.1f}"
        print(f"| {batch} | {times} | {ratios} | {', '.join(faults)} | {', '.join(peaks)} |", flush=True)


if __name__ == "__main__":
    main()
