"""What the NAS-Bench-201 table says of the rows in benchmarks/nb201.csv, as Markdown.

    python benchmarks/nb201_table.py --table nasbench201.csv.gz              validation accuracies, seed by seed: to choose by
    python benchmarks/nb201_table.py --table nasbench201.csv.gz --final      test accuracies too, and the paired differences
    python benchmarks/nb201_table.py --table nasbench201.csv.gz --chosen     each arm at the best of its configurations
    python benchmarks/nb201_table.py --table nasbench201.csv.gz --cost       what a step of each arm costs, at the preset's size

A difference is that of MIDAS and an arm, or of MIDAS's configurations, on the same seeds, with the 95 % interval of Student's t.
"""

import argparse
import json
import os
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import rows
import torch
from nb201_run import HELD, PRESET, ROWS

from midas.bench.cases import StepCase
from midas.bench.latency import cpu_name
from midas.bench.nasbench201 import Table, find_table, load_table
from midas.bench.steps import arm_parameters, forward_macs, measure
from midas.genotype import Genotype

COMMON = (0, 1, 2)
ARMS = ("midas", "darts", "drnas", "gdas", "beta-darts")  # that have architecture steps
Group = dict[int, dict[str, str]]  # the rows of one (arm, configuration) by seed


def value(table: Table, arch: str, column: str) -> float:
    """A cell's accuracy in a column, in percent."""
    return float(table.columns[column][table.row(Genotype.from_arch(arch))])


def by_epoch(table: Table, row: dict[str, str], column: str) -> str:
    """The accuracies of the cells that were decoded after each epoch."""
    return " ".join(f"{value(table, arch, column):.1f}" for arch in json.loads(row["epochs"] or "[]"))


def chosen(table: Table, groups: dict[tuple[str, str], Group], rule: str) -> Iterator[str]:
    """Each arm at the best of its configurations, by the validation column's mean over the seeds that every arm has."""

    def accuracies(group: Group, column: str) -> dict[int, float]:
        return {seed: value(table, group[seed][rule], column) for seed in COMMON}

    best: dict[str, tuple[float, str, Group]] = {}
    count: dict[str, int] = defaultdict(int)
    for (arm, config), group in groups.items():
        if all(seed in group and group[seed][rule] for seed in COMMON):
            count[arm] += 1
            mean = statistics.mean(accuracies(group, "cifar10_valid").values())
            best[arm] = max(best.get(arm, (0.0, "", group)), (mean, config, group), key=lambda one: one[0])
    yield f"cifar10, in percent, by {rule}, seeds {', '.join(map(str, COMMON))}\n"
    yield "| arm | configurations | the best | its validation | its test | MIDAS's best minus it, test, paired, 95 % interval |"
    yield "|---|---|---|---|---|---|"
    ours = accuracies(best["midas"][2], "cifar10_test")
    for arm, (_, config, group) in best.items():
        valid, test = (accuracies(group, column) for column in ("cifar10_valid", "cifar10_test"))
        less = "" if arm == "midas" else rows.difference(ours, test)
        spreads = [rows.spread(list(found.values())) for found in (valid, test)]
        yield f"| {arm} | {count[arm]} | {config[1:-1] or 'preset'} | {spreads[0]} | {spreads[1]} | {less} |"


def cost(arms: Iterable[str]) -> Iterator[str]:
    """Each arm's parameters, multiply-adds of a forward pass, time and memory of a step, beside those of static parameters."""
    search = PRESET["search"]
    shape = {key: search[key] for key in ("channels", "cells")}
    shape |= {"size": search["image_size"], "batch": search["batch_size"]}
    cases = [
        StepCase(arm, arm, search["patch_size"], "nasbench201", **shape) for arm in dict.fromkeys(["darts", *arms])
    ]
    torch.set_num_threads(os.cpu_count() or 1)
    times = measure(cases, runs=15)
    yield f"{cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}, batches of {cases[0].batch}\n"
    yield "| arm | its parameters | forward, M multiply-adds an image | step, s | quartiles | over darts | peak MiB | over darts |"
    yield "|---|---|---|---|---|---|---|---|"
    for case, seen in zip(cases, times, strict=True):
        macs = forward_macs(case)[0] / case.batch / 1e6
        peak, first = seen.memory or 0.0, times[0].memory or 1.0
        yield (
            f"| {case.arm} | {arm_parameters(case):,} | {macs:.2f} | {seen.median:.3f} | {seen.low:.3f} to {seen.high:.3f} "
            f"| {seen.median / times[0].median:.2f} | {peak:.0f} | {peak / first:.2f} |"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--rows", type=Path, default=ROWS, help="what benchmarks/nb201_run.py --rows wrote")
    parser.add_argument("--final", action="store_true")
    parser.add_argument("--chosen", action="store_true")
    parser.add_argument("--cost", action="store_true")
    parser.add_argument(
        "--rule",
        choices=("refined", "vote", "mean", "mode", "joint"),
        default="refined",
        help="the decode rule; refined is the cell after short trainings, by vote where there were none",
    )
    options = parser.parse_args()
    groups: dict[tuple[str, str], Group] = defaultdict(dict)
    for row in rows.read(options.rows):
        config = json.loads(row["config"])
        if options.rule != "refined":  # these cells are of before the short trainings, whatever those were
            config.pop("decode.refine", None)
        held = ", held seeds" * (int(row["seed"]) >= HELD)  # the last check stands by itself
        groups[row["arm"] + held, json.dumps(config)][int(row["seed"])] = row
    if options.cost:
        print("\n".join(cost(arm for arm, _ in groups if arm in ARMS)))
        return
    table = load_table(find_table(options.table))
    if options.chosen:
        print("\n".join(chosen(table, groups, options.rule)))
        return
    column = "cifar10_test" if options.final else "cifar10_valid"
    accuracies = {
        key: {seed: value(table, row[options.rule] or row["vote"], column) for seed, row in group.items()}
        for key, group in groups.items()
    }
    print(
        f"{column}, in percent, decoded by {options.rule}\n\n| arm | configuration | seeds | mean | worst | each | seconds a seed |"
    )
    print("|---|---|---|---|---|---|---|")
    for (arm, config), found in accuracies.items():
        group = groups[arm, config]
        each = ", ".join(f"{found[seed]:.2f}" for seed in sorted(found))
        seconds = statistics.mean(float(row["seconds"]) for row in group.values())
        name = config[1:-1].replace('"', "") or "preset"
        print(
            f"| {arm} | {name} | {', '.join(map(str, sorted(found)))} | {rows.spread(list(found.values()))} "
            f"| {min(found.values()):.2f} | {each} | {seconds:.0f} |"
        )
    if options.final:
        print("\n| MIDAS minus | paired difference, 95 % interval |\n|---|---|")
        for (arm, config), found in accuracies.items():
            if arm != "midas" and (ours := accuracies.get(("midas", config))):
                print(f"| {arm} {config[1:-1]} | {rows.difference(ours, found)} |")
        best = ", ".join(f"{k}: {table.best_of_random(k):.2f}" for k in (10, 50, 100, 500))
        print(f"\nThe best of k random cells by validation: {best}.")
        return
    print("\n| MIDAS with | less the preset, paired, 95 % interval |\n|---|---|")
    for (arm, config), found in accuracies.items():  # of the same short trainings, or all before them
        if arm == "midas" and config != "{}" and "decode.refine" not in config:
            print(f"| {config[1:-1]} | {rows.difference(found, accuracies['midas', '{}'])} |")
    print("\nThe cell after each epoch, decoded by mean on 256 images:\n")
    for (arm, config), group in groups.items():
        for seed, row in sorted((seed, row) for seed, row in group.items() if row["epochs"]):
            print(f"- {arm} {config} seed {seed}: {by_epoch(table, row, column)}")


if __name__ == "__main__":
    main()
