"""Whether a second short training tells the best cells of `decode.refine` apart: NAS-Bench-201, CIFAR-10.

    python benchmarks/nb201_finalists.py --table TABLE --root CIFAR                      the same recipe, other weights
    python benchmarks/nb201_finalists.py --table TABLE --root CIFAR --set channels=16    twice as wide
    python benchmarks/nb201_finalists.py --table TABLE --root CIFAR --set epochs=30      three times as long
    python benchmarks/nb201_finalists.py --table TABLE                                   what the rows say so far

Of each seed, the --best cells of the lowest loss among all short trainings by the preset of 2026-11-27 in benchmarks/nb201.csv are
trained again, from other weights and in another order of the images. One row for each in benchmarks/nb201_finalists.csv; those that
exist are skipped; as many are trained side by side as there are cores. Each loss, less its mean in its seed, is correlated with
the table's validation column, likewise less its mean: a cell that was lucky once is not expected to be so again, and one that is
good is. About half a minute of a core a training.
Then, of two ways to train finalists (30 epochs; 15 on four times the images), the validation accuracy of the cell that each
keeps, by itself and by the geometric mean of the losses: of those thirty cells, and of the finals of eight seeds that were once
run in both ways (benchmarks/nb201_finals.csv, losses in nats).
Below stands the same of more cells by their first loss, and by what the search itself says of them: the sum over the edges of
the logarithm of the operation's share in it (`decode.refine.temperature` weighs it).
"""

import argparse
import datetime
import json
import math
import os
import time
from collections import defaultdict
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import rows
import torch
from nb201_run import BEFORE, HELD, LAST, PRESET, ROWS, parse, preset_images, recipe, recipe_of
from scipy.stats import pearsonr

from midas.bench.nasbench201 import Table, find_table, load_table
from midas.data.prepared import load_meta, load_split
from midas.genotype import Genotype
from midas.runs import seeding
from midas.search.brief import ShortTrainings, short_recipe, trainer
from midas.search.config import RefineConfig, SearchConfig
from midas.search.halves import Halves
from midas.search.refine import log_share
from midas.spaces import get_space

FILE = Path(__file__).parent / "nb201_finalists.csv"
FINALS = Path(__file__).parent / "nb201_finals.csv"
FEW, MANY = {"epochs": 30}, {"images": 20000, "epochs": 15}
OTHER = 1000  # added to the seed: weights and order that no training of that search had
REFINE = RefineConfig(**PRESET["decode"]["refine"])


class Row(NamedTuple):
    """One training."""

    date: str
    changed: str  # of the preset's recipe, as JSON
    seed: int
    arch: str
    first: float  # its loss in the search's own short trainings, nats
    loss: float
    accuracy: float
    seconds: int


def finalists(best: int) -> list[tuple[int, str, float]]:
    """(seed, arch string, loss) of MIDAS's best cells of each development seed by the preset's recipe, in rows until `LAST`."""
    found: dict[int, dict[str, float]] = defaultdict(dict)
    trained = [row for row in rows.read(ROWS) if row["losses"] and row["date"] <= LAST]
    for row in (row for row in trained if row["arm"] == "midas" and int(row["seed"]) < HELD):
        preset_search = json.loads(row["config"]).keys() <= {"decode.refine"}
        if preset_search and recipe_of(row) == recipe(REFINE):
            found[int(row["seed"])] |= dict(json.loads(row["losses"]))
    return [
        (seed, arch, losses[arch])
        for seed, losses in sorted(found.items())
        for arch in sorted(losses, key=lambda arch: losses[arch])[:best]
    ]


def train(jobs: list[tuple[int, str, float]], changed: str, root: str) -> None:
    """Train the cells that have no row yet, and append their rows."""
    folder = preset_images(root)
    images, meta = load_split(folder / "train.safetensors"), load_meta(folder / "meta.json")
    search, how = SearchConfig(**PRESET["search"]), REFINE.model_copy(update=json.loads(changed))
    changed_recipe = short_recipe(search, how, meta)
    halves, space = Halves(images, changed_recipe), get_space("nasbench201").without(search.exclude)
    torch.set_num_threads(os.cpu_count() or 1)
    seeding.deterministic()
    done = {(row["changed"], int(row["seed"]), row["arch"]) for row in rows.read(FILE)}
    with trainer(torch.device("cpu")) as run:
        for seed in dict.fromkeys(seed for seed, _, _ in jobs):
            cells = [(arch, first) for s, arch, first in jobs if s == seed and (changed, s, arch) not in done]
            depths = how.cells or (search.cells,)
            short = ShortTrainings(space, changed_recipe, depths, how.epochs, halves, meta, seed + OTHER)
            start = time.perf_counter()
            verdicts = run(short, [Genotype.from_arch(arch) for arch, _ in cells])
            for number, ((arch, first), verdict) in enumerate(zip(cells, verdicts, strict=True), 1):
                date = datetime.date.today().isoformat()
                seconds = round((time.perf_counter() - start) / number * min(number, torch.get_num_threads()))  # so far
                told = (round(verdict.loss, 6), round(verdict.accuracy, 4), seconds)
                rows.append(FILE, Row(date, changed, seed, arch, first, *told))


def show(table: Table, best: int) -> None:
    """The correlations, as Markdown."""
    kept = {(seed, arch) for seed, arch, _ in finalists(best)}
    print("| changed | cells | first loss | second | both | second's accuracy | first with second | core-seconds |")
    print("|---|---|---|---|---|---|---|---|")
    groups: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows.read(FILE):
        if (int(row["seed"]), row["arch"]) in kept:
            groups[row["changed"]].append(row)
    for changed, group in groups.items():
        accuracy = [float(table.columns["cifar10_valid"][table.row(Genotype.from_arch(r["arch"]))]) for r in group]
        seeds = [r["seed"] for r in group]
        judged, first, second, held = (
            centred(seeds, values)
            for values in (accuracy, *([float(r[key]) for r in group] for key in ("first", "loss", "accuracy")))
        )
        both = [a + b for a, b in zip(first, second, strict=True)]
        cells = [
            *(f"{-pearsonr(values, judged)[0]:.2f}" for values in (first, second, both)),
            f"{pearsonr(held, judged)[0]:.2f}",
            f"{pearsonr(first, second)[0]:.2f}",
        ]
        seconds = sum(int(r["seconds"]) for r in group) / len(group)
        print(f"| {changed} | {len(group)} | {' | '.join(cells)} | {seconds:.0f} |")
    print(
        f"\nOf that many cells, a correlation of less than {2 / math.sqrt(max(map(len, groups.values()))):.2f} is none."
    )


def show_shares(table: Table, sizes: tuple[int, ...] = (6, 12, 20, 40)) -> None:
    """What the first losses and the search's shares say of the best cells of each seed, as Markdown."""
    shares = {
        int(row["seed"]): {(kind, a, b, op): share for kind, a, b, op, share in json.loads(row["shares"])}
        for row in rows.read(ROWS)
        if (row["arm"], row["config"]) == ("midas", BEFORE) and int(row["seed"]) < HELD
    }
    print("\n| best of each seed | cells | loss | shares in the search |\n|---|---|---|---|")
    for size in sizes:
        cells = [(seed, Genotype.from_arch(arch), loss) for seed, arch, loss in finalists(size) if seed in shares]
        seeds = [str(seed) for seed, _, _ in cells]
        judged = centred(seeds, [float(table.columns["cifar10_valid"][table.row(cell)]) for _, cell, _ in cells])
        losses = centred(seeds, [loss for _, _, loss in cells])
        said = centred(seeds, [log_share(cell, shares[seed]) for seed, cell, _ in cells])
        print(f"| {size} | {len(cells)} | {-pearsonr(losses, judged)[0]:.2f} | {pearsonr(said, judged)[0]:.2f} |")


def both_ways() -> dict[tuple[str, str], tuple[float, float]]:
    """(seed, arch string) of the cells trained again in both ways, to their losses."""
    found = {(row["seed"], row["arch"], row["changed"]): float(row["loss"]) for row in rows.read(FILE)}
    few, many = json.dumps(FEW), json.dumps(MANY)
    cells = [(seed, arch) for seed, arch, changed in found if changed == many and (seed, arch, few) in found]
    return {cell: (found[*cell, few], found[*cell, many]) for cell in cells}


def show_kept(table: Table, title: str, losses: dict[tuple[str, str], tuple[float, float]]) -> None:
    """Which cell of each seed each way keeps: its validation accuracy, as Markdown."""
    print(f"\n{title}\n\n| seed | cells | best | few images | many | both |\n|---|---|---|---|---|---|")
    columns, ways = [], (itemgetter(0), itemgetter(1), math.prod)  # the product has the order of the geometric mean
    for seed in sorted({seed for seed, _ in losses}, key=int):
        cells = {arch: told for (one, arch), told in losses.items() if one == seed}
        judged = {arch: float(table.columns["cifar10_valid"][table.row(Genotype.from_arch(arch))]) for arch in cells}
        kept = [min((way(told), arch) for arch, told in cells.items())[1] for way in ways]
        columns.append([max(judged.values()), *(judged[arch] for arch in kept)])
        print(f"| {seed} | {len(cells)} | {' | '.join(f'{value:.2f}' for value in columns[-1])} |")
    means = (sum(column) / len(columns) for column in zip(*columns, strict=True))
    print(f"| mean | | {' | '.join(f'{mean:.2f}' for mean in means)} |")


def centred(seeds: list[str], values: list[float]) -> list[float]:
    """Each value less the mean of its seed's."""
    groups: dict[str, list[float]] = defaultdict(list)
    for seed, value in zip(seeds, values, strict=True):
        groups[seed].append(value)
    return [value - sum(groups[seed]) / len(groups[seed]) for seed, value in zip(seeds, values, strict=True)]


def main() -> None:
    """Train what is asked for, then print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--root")
    parser.add_argument("--best", type=int, default=6)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    table = load_table(find_table(options.table))
    if options.root:
        train(finalists(options.best), json.dumps(dict(parse(text) for text in options.set)), options.root)
    show(table, options.best)
    show_shares(table)
    show_kept(table, "Of the cells trained again:", both_ways())
    finals = {(row["seed"], row["arch"]): (float(row["few"]), float(row["many"])) for row in rows.read(FINALS)}
    show_kept(table, "Of finals:", finals)
    show_kept(table, "Of finals, development seeds:", {k: v for k, v in finals.items() if int(k[0]) < HELD})


if __name__ == "__main__":
    main()
