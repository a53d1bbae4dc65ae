"""Accuracy against architecture steps of the searches in nb201.csv that differ in `epochs` alone.

`nb201_table.py --ladder` prints it as Markdown, and `-o FILE.svg` draws it.
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import rows

from midas.analysis.nasbench201 import Table
from midas.genotype import Genotype

READINGS = ("mean", "vote", "cell")  # the columns; `cell` is read by `sensitivity`
RECIPE = {  # all searches of the ladder; the pilot is in RESULTS.md
    "cells": 5,
    "images": None,
    "warmup_epochs": 1,
    "arch_learning_rate": 0.001,
    "decode.proxy": None,
    "decode.aggregation": "sensitivity",
}
COLOURS = {"midas": "#1b6ca8", "darts": "#c0392b", "drnas": "#7f8c2d"}


class Rung(NamedTuple):
    """The searches of one method and length, by test accuracy in percent."""

    method: str
    steps: int  # of the architecture
    seeds: list[int]
    accuracies: dict[str, list[float]]  # for each reading
    seconds: float  # the mean of a search, its reading included


def ladder(table: Table, read: Sequence[dict[str, str]], column: str) -> list[Rung]:
    """The rungs by method and steps; rows of another recipe are left out."""
    groups: dict[tuple[str, int], list[dict[str, str]]] = defaultdict(list)
    for row in read:
        config = json.loads(row["config"])
        epochs = config.pop("epochs", None)
        if epochs and config == RECIPE:
            steps = int(row["steps"]) * (epochs - 1) // epochs  # the weights learn alone at first
            groups[row["method"], steps].append(row)
    rungs = []
    for (method, steps), group in sorted(groups.items()):
        accuracies = {
            reading: [
                float(table.columns[column][table.row(Genotype.from_arch(row[reading]))])
                for row in group
            ]
            for reading in READINGS
        }
        seeds = sorted(int(row["seed"]) for row in group)
        seconds = statistics.mean(float(row["seconds"]) for row in group)
        rungs.append(Rung(method, steps, seeds, accuracies, seconds))
    return rungs


def markdown(rungs: Sequence[Rung]) -> Iterator[str]:
    """A line for each rung."""
    yield "| method | architecture steps | seeds | by mean | by vote | by sensitivity | worst | s |"
    yield "|---|---|---|---|---|---|---|---|"
    for rung in rungs:
        read = [rows.spread(rung.accuracies[reading]) for reading in READINGS]
        worst = f"{min(rung.accuracies['cell']):.2f}"
        seeds = ", ".join(map(str, rung.seeds))
        cells = [rung.method, f"{rung.steps:,}", seeds, *read, worst, f"{rung.seconds:.0f}"]
        yield f"| {' | '.join(cells)} |"


def draw(rungs: Sequence[Rung], path: Path) -> None:
    """A picture: a line for each method and reading, a point for each seed."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "ladder"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    for method in dict.fromkeys(rung.method for rung in rungs):
        own = [rung for rung in rungs if rung.method == method]
        steps = [rung.steps for rung in own]
        for reading, style in (("cell", "-"), ("mean", ":")):
            means = [statistics.mean(rung.accuracies[reading]) for rung in own]
            name = f"{method}, {'sensitivity' if reading == 'cell' else reading}"
            colour = COLOURS.get(method, "#555555")
            axes.plot(steps, means, style, marker="o", color=colour, label=name)
            for rung in own:
                values = rung.accuracies[reading]
                axes.scatter([rung.steps] * len(values), values, s=9, color=colour, alpha=0.5)
    axes.axhline(94.37, color="#999999", linewidth=0.8)
    axes.annotate("best cell of the table", (1, 94.37), xycoords=("axes fraction", "data"),
                  ha="right", va="bottom", fontsize=8)  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("architecture steps (batch 64)")
    axes.set_ylabel("CIFAR-10 test accuracy, %")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
