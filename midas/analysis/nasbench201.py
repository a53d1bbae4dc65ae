"""A table of all 15,625 NAS-Bench-201 cells (arXiv 2001.00326) says how good a found cell is.

Its column `arch` holds the arch string, the columns `NAME_valid` and `NAME_test` accuracies in
percent. The official file is a pickle: import only one whose source you trust.
"""

import csv
import gzip
import io
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from midas.genotype import Genotype
from midas.io import files
from midas.io.errors import MidasError, shorten

VARIABLE = "MIDAS_NB201_TABLE"
SUFFIXES = ("_valid", "_test")
MAX_BYTES = 2**26  # of an unpacked table; NAS-Bench-201 with six columns takes 2 MB
HELP = (
    f"name it by --table FILE or {VARIABLE}; `midas bench nb201-import FILE` makes it from "
    "NATS-tss-v1_0-3ffb9.pickle.pbz2 of github.com/D-X-Y/NATS-Bench"
)
Accuracies = NDArray[np.float64]


class Judgement(NamedTuple):
    """A cell's place among all `cells` in one column; all but rank and cells in percent."""

    column: str
    accuracy: float
    rank: int  # 1 is the best
    cells: int
    percentile: float  # the share of cells that are worse
    regret: float  # the best accuracy minus this one


class Table:
    """All cells' accuracies by column, e.g. ``cifar10_test``."""

    def __init__(
        self, architectures: list[str], columns: Mapping[str, Accuracies], where: str = "table"
    ) -> None:
        self.architectures = architectures
        self.columns = dict(columns)
        self.where = where
        self._index = {arch: i for i, arch in enumerate(architectures)}

    def __len__(self) -> int:
        return len(self.architectures)

    def row(self, genotype: Genotype) -> int:
        """The cell's row; MidasError where there is none, GenotypeError for another space's."""
        arch = genotype.to_arch()
        if arch not in self._index:
            raise MidasError(
                f"{self.where}: has no cell {arch}; it has {len(self)} cells, e.g. "
                f"{self.architectures[0]}"
            )
        return self._index[arch]

    def judge(self, genotype: Genotype) -> list[Judgement]:
        """The cell's place in every column; raises as `row` does."""
        row = self.row(genotype)
        places = []
        for name, values in self.columns.items():
            accuracy = float(values[row])
            rank = int((values > accuracy).sum()) + 1
            percentile = 100 * int((values < accuracy).sum()) / len(self)
            regret = float(values.max()) - accuracy
            places.append(Judgement(name, accuracy, rank, len(self), percentile, regret))
        return places


def find_table(path: Path | None) -> Path:
    """The path, or the one in the environment; MidasError where there is no such file."""
    if path is None and os.environ.get(VARIABLE):
        path = Path(os.environ[VARIABLE])
    if path is None:
        raise MidasError(f"bench nb201: no table of NAS-Bench-201 accuracies is named; {HELP}")
    if not path.is_file():
        raise MidasError(f"{path}: there is no such file; {HELP}")
    return path


def load_table(path: Path) -> Table:
    """Read a table; MidasError where the file is not one."""
    try:
        architectures, columns = _parse(_read_text(path))
    except (OSError, EOFError, ValueError, KeyError, TypeError, csv.Error, zlib.error) as error:
        where = shorten(str(path), 70)
        reason = shorten(repr(error), 50)
        raise MidasError(f"{where}: is not a table of cells ({reason}); {HELP}") from error
    if not columns:
        raise MidasError(f"{path}: has no columns NAME_valid or NAME_test; {HELP}")
    return Table(architectures, columns, str(path))


def _read_text(path: Path) -> str:
    """The unpacked file; raises ValueError where it is longer than `MAX_BYTES`."""
    with path.open("rb") as file:
        is_gzip = file.peek(2)[:2] == b"\x1f\x8b"
        with gzip.open(file) if is_gzip else file as stream:
            data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it unpacks to more than {MAX_BYTES >> 20} MiB")
    return data.decode("utf-8")


def _parse(text: str) -> tuple[list[str], dict[str, Accuracies]]:
    """The arch strings and the columns; raises ValueError where a number is not finite."""
    rows = list(csv.DictReader(io.StringIO(text)))
    architectures = [row["arch"] for row in rows]
    names = [name for name in (rows[0] if rows else {}) if name.endswith(SUFFIXES)]
    columns = {name: np.array([float(row[name]) for row in rows]) for name in names}
    for name, values in columns.items():
        finite = np.isfinite(values)
        if not finite.all():
            raise ValueError(f"{name} of {architectures[int(finite.argmin())]} is not a number")
    return architectures, columns


# our column: the official data set and metric. CIFAR-10's validation accuracy is that of a training
# on half of the images.
COLUMNS = {
    "cifar10_valid": ("cifar10-valid", "valid-accuracy"),
    "cifar10_test": ("cifar10", "test-accuracy"),
    "cifar100_valid": ("cifar100", "valid-accuracy"),
    "cifar100_test": ("cifar100", "test-accuracy"),
    "imagenet16_120_valid": ("ImageNet16-120", "valid-accuracy"),
    "imagenet16_120_test": ("ImageNet16-120", "test-accuracy"),
}
EPOCHS = "200"


def import_table(source: Path, out: Path) -> list[str]:
    """Write the .csv.gz table of 200-epoch accuracies, averaged over trials; returns its columns.

    `source` is ``NATS-tss-v1_0-*.pickle.pbz2``, or the folder of the same name with ``-simple``.
    """
    try:
        import nats_bench
    except ImportError as error:
        raise MidasError(
            "bench nb201-import: needs the package nats_bench: pip install 'midas-nas[nasbench]'"
        ) from error
    if not source.exists():
        raise MidasError(f"{source}: there is no such file or folder")
    try:
        api = nats_bench.create(str(source), "tss", fast_mode=source.is_dir(), verbose=False)
        names = [name for name in COLUMNS if _value(api, 0, name) is not None]
        rows = [
            [i, api.arch(i), *(f"{_value(api, i, name):.4f}" for name in names)]
            for i in range(len(api))
        ]
    except Exception as error:  # a pickle of anything else fails in any way
        raise MidasError(
            f"{source}: cannot be read as a NATS-Bench topology file ({error!r})"
        ) from error
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["index", "arch", *names], *rows])
    files.write_bytes(out, gzip.compress(text.getvalue().encode(), mtime=0))
    return names


def _value(api: Any, index: int, column: str) -> float | None:
    """One accuracy in percent, the mean over trials; None where the file has no such data set."""
    data, metric = COLUMNS[column]
    try:
        value = api.get_more_info(index, data, hp=EPOCHS, is_random=False).get(metric)
    except KeyError:
        return None
    return None if value is None else float(value)
