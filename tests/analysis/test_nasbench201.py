"""A table of cells: ranks equal a plain count, and the real table gives the published figures."""

import gzip
import os
import random
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from midas.analysis.nasbench201 import Table, find_table, load_table
from midas.genotype import Genotype
from midas.io.errors import GenotypeError, MidasError

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from nb201_table import best_of_random

SHARED = os.environ.get("MIDAS_SHARED_DATA")
needs_table = pytest.mark.skipif(
    SHARED is None, reason="MIDAS_SHARED_DATA is not set: no NAS-Bench-201 table"
)
OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
PAPER = (
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
    "+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
)


def cells(count: int) -> list[str]:
    draws = random.Random(0)
    rows = (draws.choices(OPS, k=6) for _ in range(count))
    return ["|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*ops) for ops in rows]


def small_table() -> Table:
    draws = np.random.default_rng(0)
    columns = {
        name: draws.integers(0, 40, 30).astype(float) for name in ("cifar10_valid", "cifar10_test")
    }
    return Table(list(dict.fromkeys(cells(40)))[:30], columns)


def real_table() -> Table:
    return load_table(Path(str(SHARED)) / "nasbench201_cifar10.csv.gz")


def test_rank_percentile_and_regret_are_those_of_a_plain_count() -> None:
    table = small_table()
    for i, arch in enumerate(table.architectures):
        for judgement in table.judge(Genotype.from_arch(arch)):
            values = list(table.columns[judgement.column])
            assert judgement.accuracy == values[i]
            assert judgement.rank == sorted(values, reverse=True).index(values[i]) + 1
            assert judgement.percentile == pytest.approx(
                100 * sum(v < values[i] for v in values) / 30
            )
            assert judgement.regret == max(values) - values[i]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_best_of_k_random_cells_is_the_mean_over_all_draws(count: int) -> None:
    table = small_table()
    table.columns = {name: values[:8] for name, values in table.columns.items()}
    table.architectures = table.architectures[:8]
    valid, test = table.columns["cifar10_valid"], table.columns["cifar10_test"]
    draws = list(combinations(range(8), count))
    expected = sum(test[max(draw, key=lambda i: (valid[i], -i))] for draw in draws) / len(draws)
    assert best_of_random(table, count) == pytest.approx(expected)


@needs_table
def test_the_published_figures_of_the_real_table() -> None:
    table = real_table()
    assert len(table) == 15_625
    by_column = {j.column: j for j in table.judge(Genotype.from_arch(PAPER))}
    assert (round(by_column["cifar10_test"].accuracy, 2), by_column["cifar10_test"].rank) == (
        94.36,
        3,
    )
    assert table.row(Genotype.from_arch(PAPER)) == 9930
    for count, accuracy in ((10, 93.07), (50, 93.62), (100, 93.80), (500, 94.02)):
        assert best_of_random(table, count) == pytest.approx(
            accuracy, abs=0.05
        )  # the published ones were drawn, ours is exact
    assert sum(table.columns["cifar10_test"] >= 93.8) == 134


def test_a_table_of_any_data_sets_is_read_zipped_or_not(tmp_path: Path) -> None:
    text = f"index,arch,cifar100_valid,cifar100_test,trials\n0,{PAPER},73.49,73.51,3\n"
    (tmp_path / "t.csv").write_text(text)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("t.csv", "t.csv.gz"):
        judged = load_table(tmp_path / name).judge(Genotype.from_arch(PAPER))
        assert [(j.column, j.accuracy) for j in judged] == [
            ("cifar100_valid", 73.49),
            ("cifar100_test", 73.51),
        ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a,b\n1,2\n",
        f"arch,c_test\n{PAPER},much\n",
        f"arch,c_test\n{PAPER}\n",
        f"arch,c_test\n{PAPER},nan\n",
        "arch,flops\nx,1\n",
    ],
)
def test_a_file_that_is_not_a_table_is_refused_with_the_way_to_get_one(
    text: str, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(MidasError, match=r"t.csv: .*nb201-import"):
        load_table(tmp_path / "t.csv")


def test_a_missing_table_and_a_foreign_cell_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MIDAS_NB201_TABLE", raising=False)
    with pytest.raises(MidasError, match="name it by --table FILE"):
        find_table(None)
    with pytest.raises(MidasError, match="there is no such file"):
        find_table(tmp_path / "none.csv")
    with pytest.raises(MidasError, match="has no cell"):
        Table([PAPER], {}).row(Genotype.from_arch(PAPER.replace("skip_connect", "none")))
    with pytest.raises(GenotypeError, match="no arch string"):
        Table([PAPER], {}).row(replace(Genotype.from_arch(PAPER), space="darts"))


@needs_table
def test_the_command_prints_rank_percentile_and_regret() -> None:
    table = f"{SHARED}/nasbench201_cifar10.csv.gz"
    options = ["--genotype", PAPER, "--table", table]
    command = [sys.executable, "-m", "midas_cli", "bench", "nb201", *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    line = next(line for line in result.stdout.splitlines() if line.startswith("cifar10_test"))
    assert line.split() == ["cifar10_test", "94.36", "%", "3", "15625", "99.98", "%", "0.01"]
