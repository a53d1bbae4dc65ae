"""How far short trainings and finals are from the table: regressions of their losses on it, over rows that exist.

    python benchmarks/nb201_errors.py --table TABLE

The losses are those of MIDAS's development seeds by the preset of 2026-11-27, in benchmarks/nb201.csv (short trainings,
finals) and in benchmarks/nb201_finalists.csv (three times as long). A loss is taken to be a constant of its weights and
images, so much a point that the cell has less than the best in the table's validation column, and so much a skip connection;
what is left is the error. Of long trainings it is the logarithm that is taken: their losses are small and differ by factors.
Where a cell was trained long twice in a seed, the two errors are correlated: what they share belongs to the cell and not to
chance. benchmarks/nb201_refine.py simulates with figures like these.
Then, what the number of weights adds: the correlation of the column with the losses, with the logarithm of the weights and
with the best sum of both, each less its mean in its seed, and how many nats of loss weigh as much there as e times the
weights (`decode.refine.capacity`).
"""

import argparse
import json
import math
from collections import defaultdict
from pathlib import Path

import numpy
import rows
from nb201_finalists import FILE, centred, finalists
from nb201_run import BEFORE, HELD, ROWS
from nb201_table import value
from scipy.stats import pearsonr

from midas.bench.nasbench201 import Table, find_table, load_table
from midas.genotype import Genotype
from midas.search.capacity import shortfall
from midas.spaces import get_space

Training = tuple[str, str, float]  # which seed's weights and images, arch string, loss in nats


def in_finals() -> list[Training]:
    """The finals of the preset as it was."""
    preset = [row for row in rows.read(ROWS) if (row["arm"], row["config"]) == ("midas", BEFORE)]
    return [
        (row["seed"], arch, loss)
        for row in preset
        if int(row["seed"]) < HELD
        for arch, loss in json.loads(row["finals"])
    ]


def again() -> list[Training]:
    """Trainings three times as long by benchmarks/nb201_finalists.py."""
    long = (row for row in rows.read(FILE) if json.loads(row["changed"]) == {"epochs": 30})
    return [(f"{row['seed']} again", row["arch"], float(row["loss"])) for row in long]


def accuracy(table: Table, arch: str) -> float:
    """In the validation column, in percent."""
    return value(table, arch, "cifar10_valid")


def regression(table: Table, trainings: list[Training], logarithm: bool) -> tuple[list[float], list[float]]:
    """Nats (or their logarithm) a point below the best and a skip, the error's deviation; and the error of each training."""
    best = max(table.columns["cifar10_valid"])
    seeds = sorted({seed for seed, _, _ in trainings})
    design = numpy.array(
        [
            [best - accuracy(table, arch), arch.count("skip_connect"), *(seed == s for s in seeds)]
            for seed, arch, _ in trainings
        ],
        dtype=float,
    )
    losses = numpy.array([math.log(loss) if logarithm else loss for _, _, loss in trainings])
    found, *_ = numpy.linalg.lstsq(design, losses)
    errors = losses - design @ found
    deviation = math.sqrt(float((errors**2).sum()) / (len(trainings) - len(found)))
    return [float(found[0]), float(found[1]), deviation], errors.tolist()


def within(table: Table, trainings: list[Training], least: float = 0.0) -> str:
    """The correlation of loss and accuracy, each less its mean in its seed, over cells of at least so much."""
    kept = [one for one in trainings if accuracy(table, one[1]) >= least]
    seeds = [seed for seed, _, _ in kept]
    judged = centred(seeds, [accuracy(table, arch) for _, arch, _ in kept])
    return f"{-pearsonr(centred(seeds, [loss for _, _, loss in kept]), judged)[0]:.2f} ({len(kept)})"


def with_weights(table: Table, trainings: list[Training]) -> str:
    """The correlation of the column with loss, weights and both; nats that weigh as much as e times the weights."""
    small = shortfall(get_space("nasbench201"), channels=8, depths=[2], classes=10)  # as in the preset
    seeds = [seed for seed, _, _ in trainings]
    judged, losses, weights = (
        numpy.array(centred(seeds, values))
        for values in (
            [accuracy(table, arch) for _, arch, _ in trainings],
            [-loss for _, _, loss in trainings],
            [-small(Genotype.from_arch(arch)) for _, arch, _ in trainings],
        )
    )
    both = numpy.stack([losses, weights], 1)
    found, *_ = numpy.linalg.lstsq(both, judged)
    told = " | ".join(f"{pearsonr(values, judged)[0]:.2f}" for values in (losses, weights, both @ found))
    return f"{told} | {found[1] / found[0]:.2f}"


def main() -> None:
    """Print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--least", type=float, default=90.0, help="validation accuracy of the cells that count")
    options = parser.parse_args()
    table = load_table(find_table(options.table))
    short = [(str(seed), arch, loss) for seed, arch, loss in finalists(10**6)]
    finals = in_finals()
    late = finals + again()
    cases = (("10 epochs", short, False), ("30 epochs, logarithm", late, True))
    print("| trainings | of cells of | a point | a skip | error | error in points |\n|---|---|---|---|---|---|")
    for name, trainings, logarithm in cases:
        for least in (options.least, 0.0):
            kept = [one for one in trainings if accuracy(table, one[1]) >= least]
            (point, skip, error), _ = regression(table, kept, logarithm)
            told = f"{point:.3f} | {skip:.3f} | {error:.3f} | {error / point:.2f}"
            print(f"| {len(kept)} of {name} | at least {least:.0f} | {told} |")
    print("\n| trainings | of cells of | loss | weights | both | nats |\n|---|---|---|---|---|---|")
    for name, trainings in (("10 epochs", short), ("30 epochs", late)):
        for least in (0.0, options.least, options.least + 0.5):
            kept = [one for one in trainings if accuracy(table, one[1]) >= least]
            print(f"| {len(kept)} of {name} | at least {least:.1f} | {with_weights(table, kept)} |")
    _, errors = regression(table, late, logarithm=True)
    twice: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (seed, arch, _), error in zip(late, errors, strict=True):
        twice[seed.removesuffix(" again"), arch].append(error)
    pairs = [pair for pair in twice.values() if len(pair) == 2]
    one, other = zip(*pairs, strict=True)
    print(f"\nErrors of {len(pairs)} cells that were trained long twice: correlation {pearsonr(one, other)[0]:.2f}.")
    by_loss = f"{within(table, finals)}, of cells of at least 90.1 {within(table, finals, 90.1)}"
    print(f"Loss and accuracy within the preset's finals: correlation {by_loss}.")


if __name__ == "__main__":
    main()
