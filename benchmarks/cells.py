"""What a search buys: a found cell beside random cells of as many weights, and beside DARTS_V2.

    python benchmarks/cells.py --root CIFAR --cell benchmarks/cells_found.json --seeds 0 1 2

`--cell` is a genotype of the DARTS space, as `select` writes it. The random cells are drawn
uniformly (seed 0) and kept where their network has as many weights within 2 %. Each cell is trained
by RECIPE of rows.py. A row for each training is appended to cells.csv; rows that exist are not run
again. Prints a Markdown table of accuracies in percent, and the found cell's paired differences.
"""

import datetime
import os
import statistics
from collections import defaultdict
from functools import partial
from pathlib import Path

import rows
import torch

from midas.genotype import Genotype, load_genotype
from midas.nets.build import count_parameters
from midas.search.methods import random_genotype
from midas.spaces import get_space
from midas.train.start import initial_network
from midas.zoo.registry import ZOO

ROWS = Path(__file__).parent / "cells.csv"
RANDOM_CELLS = 3
Job = tuple[str, str, int]  # the cell's name and hash, and a seed


def run(job: Job, cells: dict[str, Genotype], root: str, threads: int) -> rows.Row:
    """Train one cell."""
    name, key, seed = job
    torch.set_num_threads(threads)
    trained = rows.train_cell(f"{name}, seed {seed}", cells[name], seed, root)
    date = datetime.date.today().isoformat()
    return {"date": date, "cell": name, "hash": key, "seed": seed, **trained, "threads": threads}


def compared_cells(searched: Genotype) -> dict[str, Genotype]:
    """All cells by name."""
    generator = torch.Generator().manual_seed(0)
    size = count_weights(searched)
    cells = {"found": searched, "DARTS_V2": Genotype.from_value(ZOO["darts_v2"]["genotype"])}
    while len(cells) < 2 + RANDOM_CELLS:
        drawn = random_genotype(get_space("darts"), generator)
        if abs(count_weights(drawn) - size) <= 0.02 * size:
            cells[f"random {len(cells) - 1}"] = drawn
    return cells


def count_weights(genotype: Genotype) -> int:
    """Weights of the network that is trained."""
    with torch.device("meta"):  # shapes without memory
        return count_parameters(initial_network(genotype, rows.RECIPE, 10))


def job_of(row: dict[str, str]) -> Job:
    """The job that a row is of."""
    return row["cell"], row["hash"], int(row["seed"])


def show(finished: list[dict[str, str]]) -> None:
    """Print the table and the differences."""
    groups: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in sorted(finished, key=lambda row: int(row["seed"])):
        groups[row["cell"]].append(row)
    tests: dict[str, dict[int, float]] = {}
    print("| cell | parameters | multiply-adds | validation | test | each |")
    print("|---|---|---|---|---|---|")
    for name, group in groups.items():
        tests[name] = {int(row["seed"]): float(row["test_accuracy"]) for row in group}
        validation = rows.spread([float(row["val_accuracy"]) for row in group])
        test = rows.spread(list(tests[name].values()))
        sizes = [f"{int(group[0][key]):,}" for key in ("parameters", "macs")]
        each = ", ".join(row["test_accuracy"] for row in group)
        print(f"| {' | '.join([name, *sizes, validation, test, each])} |")
    drawn = [values for name, values in tests.items() if name.startswith("random")]
    mean = {seed: statistics.mean(values[seed] for values in drawn) for seed in drawn[0]}
    print(f"\nfound minus the random cells' mean, test: {rows.difference(tests['found'], mean)}")
    print(f"found minus DARTS_V2, test: {rows.difference(tests['found'], tests['DARTS_V2'])}")


def main() -> None:
    """Train what is missing, then print."""
    parser = rows.parser(__doc__, ROWS)
    parser.add_argument("--cell", type=Path, default=ROWS.with_name("cells_found.json"))
    options = parser.parse_args()
    rows.images(options.root)
    cells = compared_cells(load_genotype(options.cell))
    jobs = [(name, cell.hash, seed) for seed in options.seeds for name, cell in cells.items()]
    done = {job_of(row) for row in rows.read(options.rows)}
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    work = partial(run, cells=cells, root=options.root, threads=threads)
    rows.run_missing(options, jobs, done, work)
    show([row for row in rows.read(options.rows) if job_of(row) in jobs])


if __name__ == "__main__":
    main()
