"""How good `decode.refine` would be if short trainings erred by so much: simulated with the table's validation column.

    python benchmarks/nb201_refine.py --table TABLE --errors 0 0.042 --trainings 8 16 32 --runs 40        minutes
    python benchmarks/nb201_refine.py --table TABLE --trainings 13 --finalists 0 6 12 --runs 200
    python benchmarks/nb201_refine.py --table TABLE --trainings 13 25 --finalists 2 6 --capacities 0 0.1 0.2 0.3 0.4 --runs 120

A short training's loss is taken to be 0.11 nats more for each point that a cell has less than the best (0.02 beyond six
points), less --skip for each skip connection (networks that learn fast, as deep short trainings favour them), plus a
normal error that belongs to the cell. A final is taken to err by 0.039 nats on that scale and by 0.011 a skip; of its
error's variance 0.6 is taken to be the same in every training of the cell, of the short one's 0.3. What is taken for a point, a
skip and the errors is what regressions of the losses on the table gave for cells of at least 90 (docs/log.md, 2026-11-27), the 0.6
the correlation of twelve cells' errors; the rest is a guess. Shares of operations are drawn as a search might leave them:
Dirichlet, with means 0.34 and 0.28 for the convolutions, 0.19 for skip and pooling; the start is the cell of the largest shares.
What the search says is so worth little here, which is a careful assumption. Only the validation column is read and printed.
"""

import argparse
import itertools
import math
import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from midas.bench.nasbench201 import Table, find_table, load_table
from midas.genotype import Genotype
from midas.search.brief import Verdict
from midas.search.capacity import shortfall
from midas.search.config import RefineConfig
from midas.search.refine import refine
from midas.spaces import get_space

MEANS = {"nor_conv_3x3": 0.34, "nor_conv_1x1": 0.28, "skip_connect": 0.19, "avg_pool_3x3": 0.19}
CONCENTRATION, NATS_A_POINT, NATS_BEYOND, KNEE = 10.0, 0.11, 0.02, 6.0
FINAL_ERROR, FINAL_SKIP, SHARED, FINAL_SHARED = 0.039, 0.011, 0.3, 0.6
SPACE = get_space("nasbench201").without(["none"])
SMALL = shortfall(SPACE, channels=8, depths=[2], classes=10)  # as in the preset


def simulate(table: Table, how: RefineConfig, error: float, skip: float, seed: int) -> tuple[float, float]:
    """The validation accuracy of the start and of the cell that is kept, in percent."""
    torch.manual_seed(seed)
    column = table.columns["cifar10_valid"]
    edges = [spec for node in SPACE.nodes("cell") for spec in node]
    drawn = [
        dict(
            zip(spec.candidates, torch.distributions.Dirichlet(_means(spec.candidates)).sample().tolist(), strict=True)
        )
        for spec in edges
    ]
    shares = {
        ("cell", spec.source, spec.target, op): max(share, 1e-3)
        for spec, row in zip(edges, drawn, strict=True)
        for op, share in row.items()
    }
    ops = [max(row, key=lambda op: row[op]) for row in drawn]
    start = Genotype.from_arch("|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*ops))
    best, count = max(column), len(column)
    common, own, late = torch.randn(3, count)

    def judge(errors: torch.Tensor, skip: float, cells: Sequence[Genotype]) -> list[Verdict]:
        found = []
        for cell in cells:
            below = float(best - column[table.row(cell)])
            loss = NATS_A_POINT * min(below, KNEE) + NATS_BEYOND * max(0.0, below - KNEE)
            loss -= skip * cell.to_arch().count("skip_connect")
            found.append(Verdict(loss + float(errors[table.row(cell)]), 0.5))
        return found

    short = partial(judge, error * (math.sqrt(SHARED) * common + math.sqrt(1 - SHARED) * own), skip)
    final_errors = FINAL_ERROR * (math.sqrt(FINAL_SHARED) * common + math.sqrt(1 - FINAL_SHARED) * late)
    kept = refine(start, shares, SPACE, how, short, partial(judge, final_errors, FINAL_SKIP), SMALL)[-1].genotype
    return float(column[table.row(start)]), float(column[table.row(kept)])


def _means(candidates: Sequence[str]) -> torch.Tensor:
    return CONCENTRATION * torch.tensor([MEANS[op] for op in candidates])


def main() -> None:
    """Simulate and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--errors", nargs="+", type=float, default=[0.042])
    parser.add_argument("--trainings", nargs="+", type=int, default=[13])
    parser.add_argument("--temperatures", nargs="+", type=float, default=[RefineConfig().temperature])
    parser.add_argument("--capacities", nargs="+", type=float, default=[RefineConfig().capacity])
    parser.add_argument("--finalists", nargs="+", type=int, default=[0, 6])
    parser.add_argument("--skip", type=float, default=0.046, help="nats that each skip connection gains")
    parser.add_argument("--bar", type=float, default=91.1, help="validation accuracy; about 93.8 of test")
    parser.add_argument("--runs", type=int, default=40)
    options = parser.parse_args()
    table = load_table(find_table(options.table))
    print(
        "| error, nats | trainings after the neighbours | finalists | temperature | capacity | start | kept | a tenth is at most "
        f"| at least {options.bar} |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    changed = (options.errors, options.trainings, options.finalists, options.temperatures, options.capacities)
    for error, trainings, finalists, temperature, capacity in itertools.product(*changed):
        how = RefineConfig(trainings=trainings, finalists=finalists, temperature=temperature, capacity=capacity)
        pairs = [simulate(table, how, error, options.skip, seed) for seed in range(options.runs)]
        starts, kept = ([pair[n] for pair in pairs] for n in (0, 1))
        tenth = sorted(kept)[math.ceil(len(kept) / 10) - 1]
        reached = sum(k >= options.bar for k in kept) / len(kept)
        figures = f"{statistics.mean(starts):.2f} | {statistics.mean(kept):.2f} | {tenth:.2f} | {reached:.0%}"
        print(f"| {error} | {trainings} | {finalists} | {temperature} | {capacity} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
