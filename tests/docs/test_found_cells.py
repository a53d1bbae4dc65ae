"""What is said of cells that were found in NAS-Bench-201 is what the rows of the searches and the table give."""

import csv
import json
import os
import statistics
from pathlib import Path

import pytest

from midas.bench.nasbench201 import Table, load_table
from midas.genotype import Genotype

ROOT = Path(__file__).parents[2]
SHARED = os.environ.get("MIDAS_SHARED_DATA")


@pytest.fixture(scope="module")
def table() -> Table:
    if not SHARED:
        pytest.skip("needs the table: MIDAS_SHARED_DATA is not set")
    return load_table(Path(SHARED) / "nasbench201_cifar10.csv.gz")


def preset_rows() -> list[dict[str, str]]:
    with (ROOT / "benchmarks/nb201.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["config"] == "{}"]


def found(table: Table, arm: str) -> dict[int, float]:
    """Test accuracies of the cells that the preset kept, by seed, in percent."""
    cells = {int(row["seed"]): Genotype.from_arch(row["refined"]) for row in preset_rows() if row["arm"] == arm}
    return {seed: float(table.columns["cifar10_test"][table.row(cell)]) for seed, cell in cells.items()}


def test_every_seed_of_the_preset_finds_a_cell_that_is_good_enough(table: Table) -> None:
    accuracies = found(table, "midas")
    development = [accuracies[seed] for seed in range(5)]
    assert statistics.mean(development) >= 94.1
    assert min(development) >= 93.8
    held = [accuracy for seed, accuracy in accuracies.items() if seed >= 100]
    assert len(held) >= 3
    assert min(held) >= 93.8


def test_the_rows_are_of_the_losses_that_they_name() -> None:
    """The cell kept is a finalist, and each final is of a cell that had been trained."""
    for row in preset_rows():
        trained = [arch for arch, _ in json.loads(row["losses"])]
        finals = [arch for arch, _ in json.loads(row["finals"])]
        assert row["refined"] in finals
        assert set(finals) <= set(trained)
        assert len(trained) == len(set(trained)) == 1 + 18 + 25
