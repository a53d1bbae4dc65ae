"""What the NAS-Bench-201 table says of the cells in nb201.csv, as Markdown.

    python benchmarks/nb201_table.py --table nasbench201.csv.gz
    python benchmarks/nb201_table.py --table nasbench201.csv.gz --final --chosen

Prints the validation accuracies of each method and configuration, to choose by, and each of MIDAS's
configurations minus its preset. `--final` prints test accuracies, and MIDAS minus each method at
the same configuration. `--chosen` leaves for each method the configuration that validates best.
`--aggregation` takes the cells from before the proxy trainings. Differences are paired by seed.
`--controls` prints test accuracies of searches beside cells that are chosen without one.
`--ladder` prints test accuracies of searches of several lengths, and `-o ladder.svg` draws them.
"""

import json
import statistics
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import defaultdict
from collections.abc import Iterator
from math import comb
from pathlib import Path
from typing import Any

import nb201_ladder
import rows

from midas.analysis.nasbench201 import Table, find_table, load_table
from midas.genotype import Genotype

ROWS = Path(__file__).parent / "nb201.csv"
RENAMED = {  # since 2026-11-30
    "arm": "method",
    "refined": "cell",
    "decode.refine": "decode.proxy",
    "capacity": "size_prior",
}
COMMON_SEEDS = (0, 1, 2)  # what every method was run with
HELD_SEEDS = 100  # seeds from here on are for the last check: nothing is chosen by them
LARGEST = (
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
    "+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
)
VALID = "cifar10_valid"
TEST = "cifar10_test"
Job = tuple[str, str, int]  # method, configuration, seed
Key = tuple[str, str]  # method and configuration
Numbers = dict[Key, dict[int, float]]  # by seed


def read(file: Path) -> list[dict[str, str]]:
    """All rows, with the present names of columns and settings."""
    result = []
    for row in map(renamed, rows.read(file)):
        config = json.dumps(renamed(json.loads(row["config"])), sort_keys=True)
        result.append({**row, "config": config})
    return result


def best_of_random(table: Table, count: int) -> float:
    """The expected test accuracy of the one of `count` random cells that validates best.

    Exact: the cell of validation rank r (from 0) is the best of a draw if all others rank behind.
    """
    order = (-table.columns[VALID]).argsort(kind="stable")
    ranks = range(len(table) - count + 1)
    chances = [comb(len(table) - r - 1, count - 1) / comb(len(table), count) for r in ranks]
    return float(table.columns[TEST][order][: len(chances)] @ chances)


def renamed(value: Any) -> Any:
    """A JSON value with the present names of its keys."""
    if not isinstance(value, dict):
        return value
    return {RENAMED.get(key, key): renamed(entry) for key, entry in value.items()}


def job_of(row: dict[str, str]) -> Job:
    """The job that a row is of."""
    return row["method"], row["config"], int(row["seed"])


def numbers(table: Table, file: Path, aggregation: str, column: str) -> Numbers:
    """A column of the table for the rows' cells, or else of the rows. An empty aggregation takes
    the cell that was kept; rows until 2026-11-30 have none where that was the vote.
    """
    result: Numbers = defaultdict(dict)
    for row in read(file):
        method, text, seed = job_of(row)
        config = json.loads(text)
        if aggregation:
            config.pop("decode.proxy", None)  # the search is the same, whatever followed it
        if seed >= HELD_SEEDS:
            method += ", held seeds"
        cell = table.row(Genotype.from_arch(row[aggregation or "cell"] or row["vote"]))
        value = table.columns[column][cell] if column in table.columns else row[column]
        result[method, json.dumps(config)][seed] = float(value)
    return result


def every(values: Numbers, seconds: Numbers, is_final: bool) -> Iterator[str]:
    """A line for each method and configuration."""
    title = "MIDAS minus it" if is_final else "minus MIDAS's preset"
    yield f"| method | configuration | seeds | mean | worst | each | seconds a seed | {title} |"
    yield "|---|---|---|---|---|---|---|---|"
    midas = [by_seed for (method, _), by_seed in values.items() if method == "midas"]
    only = midas[0] if len(midas) == 1 else {}  # of `--chosen`
    for (method, config), by_seed in values.items():
        seeds = sorted(by_seed)
        base = values.get(("midas", config if is_final else "{}"), only)
        difference = ""
        if is_final and method != "midas" and base:
            difference = rows.difference(base, by_seed)
        if not is_final and method == "midas" and config != "{}":
            difference = rows.difference(by_seed, base)
        mean = rows.spread([by_seed[seed] for seed in seeds])
        each = ", ".join(f"{by_seed[seed]:.2f}" for seed in seeds)
        listed = ", ".join(map(str, seeds))
        worst = f"{min(by_seed.values()):.2f}"
        time = f"{statistics.mean(seconds[method, config].values()):.0f}"
        settings = config[1:-1].replace('"', "") or "preset"
        cells = [method, settings, listed, mean, worst, each, time, difference]
        yield f"| {' | '.join(cells)} |"


def controls(table: Table, file: Path) -> Iterator[str]:
    """MIDAS and DARTS with proxy trainings and by the search alone, beside what searches nothing.

    The seeds are those below HELD_SEEDS with the preset; by the search alone, those of the ladder's
    shortest rung.
    """
    final = numbers(table, file, "", TEST)
    trainings = numbers(table, file, "", "trainings")
    seconds = numbers(table, file, "", "seconds")
    yield "| cell | seeds | mean | worst | trainings | seconds a seed | MIDAS minus it |"
    yield "|---|---|---|---|---|---|---|"
    base = final.get(("midas", "{}"), {})
    for method in ("midas", "darts", "largest-25", "random-25"):
        key = (method, "{}")
        if key in final:
            by_seed = final[key]
            name = f"{method} + proxy" if "-" not in method else f"{method} cells + proxy"
            change = "" if method == "midas" else rows.difference(base, by_seed)
            values = [rows.spread(list(by_seed.values())), f"{min(by_seed.values()):.2f}"]
            values += [f"{statistics.mean(of[key].values()):.0f}" for of in (trainings, seconds)]
            yield f"| {name} | {len(by_seed)} | {' | '.join(values)} | {change} |"
    rungs = nb201_ladder.ladder(table, read(file), TEST)
    for rung in (rung for rung in rungs if rung.steps == min(r.steps for r in rungs)):
        cells = rung.accuracies["cell"]
        values = [rows.spread(cells), f"{min(cells):.2f}", "0", f"{rung.seconds:.0f}"]
        yield f"| {rung.method} alone, by sensitivity | {len(cells)} | {' | '.join(values)} | |"
    largest = table.columns[TEST][table.row(Genotype.from_arch(LARGEST))]
    yield f"| the largest cell | | {float(largest):.2f} | | 0 | 0 | |"


def chosen(valid: Numbers) -> set[Key]:
    """For each method the configuration with the best mean over COMMON_SEEDS by validation; those
    without proxy trainings are compared by `--aggregation`.
    """
    best: dict[str, Key] = {}
    means: dict[Key, float] = {}
    for key, by_seed in valid.items():
        if set(COMMON_SEEDS) <= set(by_seed) and '"decode.proxy": null' not in key[1]:
            means[key] = statistics.mean(by_seed[seed] for seed in COMMON_SEEDS)
            best[key[0]] = max(best.get(key[0], key), key, key=means.__getitem__)
    return set(best.values())


def main() -> None:
    """Print the table that is asked for."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="by default $MIDAS_NB201_TABLE")
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--final", action="store_true")
    parser.add_argument("--chosen", action="store_true")
    parser.add_argument("--aggregation", choices=["mean", "vote"], default="")
    parser.add_argument("--controls", action="store_true")
    parser.add_argument("--ladder", action="store_true")
    parser.add_argument("-o", type=Path, metavar="FILE.svg", help="the picture of --ladder")
    options = parser.parse_args()
    table = load_table(find_table(options.table))
    if options.controls:
        print(*controls(table, options.rows), sep="\n")
        return
    if options.ladder:
        rungs = nb201_ladder.ladder(table, read(options.rows), TEST)
        print(*nb201_ladder.markdown(rungs), sep="\n")
        if options.o:
            nb201_ladder.draw(rungs, options.o)
        return
    source = (table, options.rows, options.aggregation)
    valid, test, seconds = (numbers(*source, column) for column in (VALID, TEST, "seconds"))
    values = test if options.final else valid
    if options.chosen:
        values = {key: values[key] for key in values if key in chosen(valid)}
    print(f"{TEST if options.final else VALID}, in percent\n")
    print(*every(values, seconds, options.final), sep="\n")
    best = ", ".join(f"{count}: {best_of_random(table, count):.2f}" for count in (10, 50, 100, 500))
    if options.final:
        print(f"\nThe best of so many random cells by validation: {best}.")


if __name__ == "__main__":
    main()
