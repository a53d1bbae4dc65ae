"""Results in a csv file, one row for each finished job, so that hours of runs can be stopped and go on; and what the seeds say."""

import csv
import math
import statistics
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any, TypeVar

from scipy.stats import t

Job = TypeVar("Job")


def missing(path: Path, jobs: Sequence[Job], done: Container[Job]) -> list[Job]:
    """The jobs that have no row yet; where there is none of them, people are told why nothing runs."""
    left = [job for job in jobs if job not in done]
    if not left:
        print(
            f"nothing to do: {path} has a row for each of these {len(jobs)} jobs; --rows FILE runs them into another file"
        )
    return left


def read(path: Path) -> list[dict[str, str]]:
    """All rows so far."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def append(path: Path, row: Any) -> None:
    """Add one finished row, a NamedTuple; its field names are the header of a new file."""
    new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(row._fields)
        writer.writerow(row)


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{statistics.mean(values):.2f}" + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")


def difference(one: dict[int, float], other: dict[int, float]) -> str:
    """The paired difference over the seeds that both have, with the 95 % interval of Student's t and what it allows to say."""
    pairs = [one[seed] - other[seed] for seed in sorted(set(one) & set(other))]
    if len(pairs) < 2:
        return "one seed in common"
    half = float(t.ppf(0.975, len(pairs) - 1)) * statistics.stdev(pairs) / math.sqrt(len(pairs))
    low, high = statistics.mean(pairs) - half, statistics.mean(pairs) + half
    verdict = "better" if low > 0 else "worse" if high < 0 else "no difference shown"
    return f"{statistics.mean(pairs):+.2f} [{low:+.2f}, {high:+.2f}], {verdict}"
