"""Searches of DARTS-like spaces at CPU scale, and a short training of each decoded cell.

    python benchmarks/spaces.py --root CIFAR --seeds 0 1
    python benchmarks/spaces.py --root CIFAR --spaces rdarts-s2 --methods midas darts-pairs darts

By default the spaces are S1 to S4 of RDARTS (arXiv 1909.09656). Searches are by SEARCH and decoded
by the mean; cells are trained by RECIPE of rows.py. A row for each search with its training is
appended to spaces.csv; rows that exist are not run again, and a search that was stopped goes on
from its last epoch. Prints a Markdown table and the paired differences of MIDAS. Skips, noise and
pools are counted over the 16 edges of both cells; a sub-network has the supernet's weights.
"""

import datetime
import hashlib
import itertools
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import rows
import torch

from midas.data.config import AugmentConfig
from midas.decode.config import DecodeConfig
from midas.decode.evidence import evidence, read_supernet
from midas.engine import seeding
from midas.engine.checkpoint import Checkpoint, fingerprint
from midas.search.bilevel import BilevelSplit
from midas.search.config import SearchConfig
from midas.search.run import run_search
from midas.spaces import get_space

ROWS = Path(__file__).parent / "spaces.csv"
SEARCH = SearchConfig(
    exclude=[],  # S3 has `none`, and the published failures are of searches that may take it
    patch_size=2,  # of images of 16 pixels, as 4 of 32
    channels=8,
    cells=3,
    epochs=6,
    learning_rate=0.05,
    augment=AugmentConfig(pad=2, flip=True),
)
# a short name of SEARCH, by which the rows of other settings are left out
SETTINGS = hashlib.sha256(SEARCH.model_dump_json(exclude_defaults=True).encode()).hexdigest()[:8]
Job = tuple[str, str, int]  # space, method, seed
Groups = dict[tuple[str, str], dict[int, dict[str, str]]]  # rows by space, method, and seed


def run(job: Job, root: str) -> rows.Row:
    """One search, its cell, and the cell's training, on one thread; accuracies in percent."""
    name, method_name, seed = job
    torch.set_num_threads(1)
    seeding.deterministic()
    splits, meta = rows.images(root)
    start = time.perf_counter()
    train = splits["train"]
    config = SEARCH.model_copy(update={"method": method_name})
    keys = {"search": config.model_dump(), "data": meta.fingerprint}
    checkpoint = Checkpoint(rows.CACHE / "-".join(map(str, job)), fingerprint(keys, rows.CODE))
    space = get_space(name)
    supernet, method, _ = run_search(space, config, train, meta, seed, checkpoint)
    half = BilevelSplit(train, config).architecture
    how = DecodeConfig()
    samples, genotype = read_supernet(space, supernet, method, config, how, half, meta)
    values = evidence(seed, genotype, samples, space, supernet, method, how, half, meta)
    search_seconds = round(time.perf_counter() - start)
    trained = rows.train_cell(f"{name}, {method_name}, seed {seed}", genotype, seed, root)
    checkpoint.clear()
    cells = {
        kind: " ".join(f"{edge.op}:{edge.source}-{edge.target}" for edge in cell.edges)
        for kind, cell in genotype.cells.items()
    }
    ops = [edge.op for cell in genotype.cells.values() for edge in cell.edges]
    return {
        "date": datetime.date.today().isoformat(),
        "space": name,
        "method": method_name,
        "seed": seed,
        "search": SETTINGS,
        "genotype": genotype.hash,
        **cells,
        "skips": ops.count("skip_connect"),
        "noise": ops.count("noise"),
        "pools": values["pools"],
        "supernet_accuracy": round(100 * values["supernet_accuracy"], 2),
        "subnetwork_accuracy": round(100 * values["subnetwork_accuracy"], 2),
        "search_seconds": search_seconds,
        **trained,
    }


def read(file: Path, jobs: Sequence[Job]) -> Groups:
    """The rows of these jobs by SEARCH."""
    groups: Groups = defaultdict(dict)
    for row in rows.read(file):
        job = (row["space"], row["method"], int(row["seed"]))
        if row["search"] == SETTINGS and job in jobs:
            groups[job[:2]][job[2]] = row
    return groups


def print_table(groups: Groups) -> None:
    """Print a line for each space and method."""
    print("| space | method | skips | noise | pools | sub-network | validation | test | each |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, group in groups.items():
        listed = [group[seed] for seed in sorted(group)]
        counts = [", ".join(row[key] for row in listed) for key in ("skips", "noise", "pools")]
        means = [
            rows.spread([float(row[f"{key}_accuracy"]) for row in listed])
            for key in ("subnetwork", "val", "test")
        ]
        each = ", ".join(row["test_accuracy"] for row in listed)
        print(f"| {' | '.join([*name, *counts, *means, each])} |")


def print_differences(groups: Groups, column: str) -> None:
    """Print MIDAS minus each other method, space by space."""
    print(f"\n{column}, paired difference, 95 % interval:")
    values = {
        name: {seed: float(row[column]) for seed, row in group.items()}
        for name, group in groups.items()
    }
    for (space, method), other in values.items():
        if method != "midas" and (space, "midas") in values:
            text = rows.difference(values[space, "midas"], other)
            print(f"- {space}, midas minus {method}: {text}")


def main() -> None:
    """Run what is missing, then print."""
    parser = rows.parser(__doc__, ROWS)
    parser.add_argument("--spaces", nargs="+", default=[f"rdarts-s{n}" for n in (1, 2, 3, 4)])
    parser.add_argument("--methods", nargs="+", default=["midas", "darts"])
    options = parser.parse_args()
    rows.images(options.root)
    jobs = list(itertools.product(options.spaces, options.methods, options.seeds))
    jobs.sort(key=lambda job: job[2])  # seed by seed
    groups = read(options.rows, jobs)
    done = [(*name, seed) for name, group in groups.items() for seed in group]
    rows.run_missing(options, jobs, done, partial(run, root=options.root))
    groups = read(options.rows, jobs)
    print_table(groups)
    for column in ("subnetwork_accuracy", "test_accuracy"):
        print_differences(groups, column)


if __name__ == "__main__":
    main()
