"""What a search buys: a found cell, random cells of as many weights, and DARTS_V2, trained alike for a short time.

    python benchmarks/cells.py --root CIFAR --found genotype.json --seeds 0 1 2

CIFAR is the folder that holds cifar-10-batches-py; genotype.json is what `decode` wrote, of the DARTS space. The random cells
are drawn uniformly (generator seed 0), kept where their network has the found one's weights within 2 %. Everything is
trained by the recipe of benchmarks/short_training.py, with the same seeds. One row for each finished training is appended to
benchmarks/cells.csv; rows that exist are skipped. The table is printed at the end, and by itself where no training is missing.
"""

import argparse
import datetime
import multiprocessing
import os
import statistics
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import rows
import torch
from short_training import RECIPE, short_training, short_training_images

from midas.genotype import Genotype, load_genotype
from midas.nets.complexity import count_parameters
from midas.nets.registry import ZOO
from midas.search.arms.discrete import random_genotype
from midas.spaces import get_space
from midas.train.start import initial_network

ROWS, RANDOM_CELLS = Path(__file__).parent / "cells.csv", 3


class Row(NamedTuple):
    """One finished training; accuracies in percent."""

    date: str
    cell: str
    hash: str  # of the genotype
    seed: int
    parameters: int
    macs: int
    val_accuracy: float
    test_accuracy: float
    seconds: int
    threads: int


def run(name: str, genotype: Genotype, seed: int, root: str, threads: int) -> Row:
    """One training; runs in a process of its own."""
    torch.set_num_threads(threads)
    found = short_training(f"{name}, seed {seed}", genotype, seed, short_training_images(root))
    return Row(datetime.date.today().isoformat(), name, genotype.hash, seed, **found, threads=threads)


def cells(found: Genotype) -> dict[str, Genotype]:
    """The cells that are compared, by name."""
    wanted, space, generator = parameters(found), get_space("darts"), torch.Generator().manual_seed(0)
    compared = {"found": found, "DARTS_V2": Genotype.from_value(ZOO["darts_v2"]["genotype"])}
    while len(compared) < 2 + RANDOM_CELLS:
        drawn = random_genotype(space, generator)
        if abs(parameters(drawn) - wanted) <= 0.02 * wanted:
            compared[f"random {len(compared) - 1}"] = drawn
    return compared


def parameters(genotype: Genotype) -> int:
    """Weights of the network of a cell."""
    with torch.device("meta"):  # shapes without memory
        return count_parameters(initial_network(genotype, RECIPE, 10))


def show(compared: dict[str, Genotype], seeds: list[int], file: Path) -> None:
    """The table, as Markdown."""
    found: dict[str, dict[int, dict[str, str]]] = defaultdict(dict)
    for row in rows.read(file):
        if (name := row["cell"]) in compared and row["hash"] == compared[name].hash and int(row["seed"]) in seeds:
            found[name][int(row["seed"])] = row
    print("| cell | parameters | multiply-adds | validation | test | each |\n|---|---|---|---|---|---|")
    tests = {name: {s: float(r["test_accuracy"]) for s, r in group.items()} for name, group in found.items()}
    for name, group in found.items():
        any_row, each = next(iter(group.values())), ", ".join(f"{tests[name][s]:.2f}" for s in sorted(group))
        validation = rows.spread([float(row["val_accuracy"]) for row in group.values()])
        print(
            f"| {name} | {int(any_row['parameters']):,} | {int(any_row['macs']):,} | {validation} "
            f"| {rows.spread(list(tests[name].values()))} | {each} |"
        )
    drawn = [values for name, values in tests.items() if name.startswith("random")]
    mean = {seed: statistics.mean(values[seed] for values in drawn) for seed in seeds}
    print(f"\nfound minus the mean of the random cells, test: {rows.difference(tests['found'], mean)}")
    print(f"found minus DARTS_V2, test: {rows.difference(tests['found'], tests['DARTS_V2'])}")


def main() -> None:
    """Train what is missing, then show the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True)
    parser.add_argument("--found", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--rows", type=Path, default=ROWS, help="another file: what this project ran runs again")
    options = parser.parse_args()
    compared = cells(load_genotype(options.found))
    short_training_images(options.root)
    done = {(row["cell"], row["hash"], int(row["seed"])) for row in rows.read(options.rows)}
    jobs = [(name, cell.hash, seed) for seed in options.seeds for name, cell in compared.items()]
    left = rows.missing(options.rows, jobs, done)
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in as_completed(
            [pool.submit(run, name, compared[name], seed, options.root, threads) for name, _, seed in left]
        ):
            rows.append(options.rows, future.result())
    show(compared, options.seeds, options.rows)


if __name__ == "__main__":
    main()
