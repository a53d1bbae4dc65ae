"""The judge: a table of all 15,625 NAS-Bench-201 cells (arXiv 2001.00326) says what a found cell is worth.

A table is a CSV file, gzipped or not, with a column `arch` (the arch string) and, for each data set, accuracies in percent
in columns `NAME_valid` and `NAME_test`. Whatever data sets a table has are judged; other columns are left alone.
"""

import csv
import gzip
import io
import os
import zlib
from collections.abc import Mapping
from math import comb
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from midas.genotype import Genotype
from midas.runs.errors import MidasError

VARIABLE = "MIDAS_NB201_TABLE"
SPLITS = ("valid", "test")
MAX_BYTES = 2**26  # of a table, unpacked; the whole of NAS-Bench-201 with six columns takes 2 MB
HELP = (
    f"say --table FILE or set {VARIABLE}; `midas bench nb201-import FILE` makes the table from NATS-tss-v1_0-3ffb9.pickle.pbz2, "
    "the official file linked at github.com/D-X-Y/NATS-Bench"
)
Accuracies = NDArray[np.float64]


class Judgement(NamedTuple):
    """A cell's place in one column of the table; accuracy, regret and percentile in percent.

    `rank` is 1 for the best, `percentile` the share of cells that are worse, `regret` what the best has more.
    """

    column: str
    accuracy: float
    rank: int
    cells: int
    percentile: float
    regret: float


class Table:
    """All cells' accuracies by column, e.g. ``cifar10_test``."""

    def __init__(self, architectures: list[str], columns: Mapping[str, Accuracies], where: str = "table") -> None:
        self.architectures, self.columns, self.where = architectures, dict(columns), where
        self._index = {arch: i for i, arch in enumerate(architectures)}

    def __len__(self) -> int:
        return len(self.architectures)

    def row(self, genotype: Genotype) -> int:
        """The cell's row.

        Raises:
            GenotypeError: the genotype is no NAS-Bench-201 cell.
            MidasError: the table lacks it.
        """
        arch = genotype.to_arch()
        if arch not in self._index:
            raise MidasError(
                f"{self.where}: has no cell {arch}; it has {len(self)} cells, e.g. {self.architectures[0]}"
            )
        return self._index[arch]

    def judge(self, genotype: Genotype) -> list[Judgement]:
        """The cell's place in every column; raises as `row` does."""
        row, result = self.row(genotype), []
        for name, values in self.columns.items():
            own = float(values[row])
            better, worse = int((values > own).sum()), int((values < own).sum())
            share = 100 * worse / len(values)
            result.append(Judgement(name, own, better + 1, len(values), share, float(values.max()) - own))
        return result

    def best_of_random(self, count: int, data: str = "cifar10") -> float:
        """The expected test accuracy of the best of `count` different random cells, the best by validation accuracy.

        Exact: the cell of validation rank r (from 0) is the best of the draw if the others all rank behind it.
        """
        order = np.argsort(-self.columns[f"{data}_valid"], kind="stable")
        n, ways = len(self), comb(len(self), count)
        chances = np.array([comb(n - r - 1, count - 1) / ways for r in range(n - count + 1)])
        return float((self.columns[f"{data}_test"][order][: len(chances)] * chances).sum())


def find_table(path: Path | None) -> Path:
    """The table's place: as said, or from the environment.

    Raises:
        MidasError: neither says one, or there is no such file.
    """
    place = path or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if place is None:
        raise MidasError(f"bench nb201: no table of NAS-Bench-201 accuracies is known; {HELP}")
    if not place.is_file():
        raise MidasError(f"{place}: there is no such file; {HELP}")
    return place


def load_table(path: Path) -> Table:
    """Read a table.

    Raises:
        MidasError: it is no such table.
    """
    try:
        with path.open("rb") as file, gzip.open(file) if file.peek(2)[:2] == b"\x1f\x8b" else file as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError(f"it unpacks to more than {MAX_BYTES >> 20} MiB")
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8"))))
        names = [name for name in (rows[0] if rows else {}) if name.endswith(tuple(f"_{split}" for split in SPLITS))]
        columns = {name: np.array([float(row[name]) for row in rows]) for name in names}
        architectures = [row["arch"] for row in rows]
        for name, column in columns.items():
            if not np.isfinite(column).all():
                raise ValueError(f"{name} of {architectures[int(np.isfinite(column).argmin())]} is no number")
    except (OSError, EOFError, ValueError, KeyError, TypeError, csv.Error, zlib.error) as error:
        raise MidasError(f"{path}: is no table of NAS-Bench-201 ({error!r}); {HELP}") from error
    if not columns:
        raise MidasError(f"{path}: has no columns NAME_valid or NAME_test; {HELP}")
    return Table(architectures, columns, str(path))
