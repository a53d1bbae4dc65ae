"""Make the small NAS-Bench-201 table from the official NATS-Bench file.

Its own package reads it (the extra `nasbench`). The official files are pickles, which that package
unpickles: import only a file whose source you trust.
"""

import csv
import gzip
import io
from pathlib import Path
from typing import Any

from midas.io import files
from midas.io.errors import MidasError

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
    """Write the table of 200-epoch accuracies, averaged over trials.

    Args:
        source: ``NATS-tss-v1_0-*.pickle.pbz2``, or the folder of the same name with ``-simple``.
        out: the .csv.gz to write.

    Returns:
        The columns that the official file has.

    Raises:
        MidasError: the package is not installed, or the file is not one of its.
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
