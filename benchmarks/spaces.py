"""Searches of DARTS-like spaces at CPU scale, and a short training of each cell found: RDARTS S1 to S4, and pairs against edges.

    python benchmarks/spaces.py --root CIFAR                                                         S1 to S4, midas and darts
    python benchmarks/spaces.py --root CIFAR --spaces rdarts-s2 rdarts-s4 --arms darts darts-pairs midas --seeds 0 1 2

CIFAR is the folder that holds cifar-10-batches-py. Searches are by SEARCH and decoded by the mean (eq. 14), cells trained by
the recipe of benchmarks/short_training.py. One row for each finished search and training is appended to benchmarks/spaces.csv; rows
that exist are skipped, and a search that was begun goes on from its last epoch. The table is printed at the end, and by itself
where nothing is missing. Skips, noise and pools are counted over the 16 edges of both cells. The sub-network has the
supernet's weights.
"""

import argparse
import datetime
import hashlib
import itertools
import multiprocessing
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import rows
import torch
from short_training import CACHE, short_training, short_training_images

from midas.data.augment import AugmentConfig
from midas.data.prepared import load_meta, load_split
from midas.genotype import Genotype
from midas.runs import seeding
from midas.runs.checkpoint import Checkpoint, fingerprint
from midas.runs.processes import end_with_parent
from midas.search.bilevel import run_search
from midas.search.config import DecodeConfig, SearchConfig
from midas.search.selection import decode_seed
from midas.spaces import get_space

ROWS = Path(__file__).parent / "spaces.csv"
SEARCH = SearchConfig(
    exclude=[],  # S3 has `none`, and the published failures are of searches that may take it
    patch_size=2,  # of images of 16, as 4 of 32
    channels=8,
    cells=3,
    epochs=6,
    learning_rate=0.05,
    augment=AugmentConfig(pad=2, flip=True),
)
Job = tuple[str, str, int]  # space, arm, seed


class Row(NamedTuple):
    """One finished search and training; accuracies in percent."""

    date: str
    space: str
    arm: str
    seed: int
    search: str  # a hash of the settings
    genotype: str  # its hash
    normal: str  # operations and the nodes they lead from and to
    reduce: str
    skips: int
    noise: int
    pools: int
    supernet_accuracy: float
    subnetwork_accuracy: float
    parameters: int
    macs: int
    val_accuracy: float
    test_accuracy: float
    search_seconds: int
    seconds: int  # of the training


def settings() -> str:
    """A short name of SEARCH."""
    return hashlib.sha256(SEARCH.model_dump_json(exclude_defaults=True).encode()).hexdigest()[:8]


def run(job: Job, root: str) -> Row:
    """One search, its cell, and that cell's training, on one thread; runs in a process of its own."""
    name, arm, seed = job
    torch.set_num_threads(1)
    seeding.deterministic()
    folder, start = short_training_images(root), time.perf_counter()
    train, meta = load_split(folder / "train.safetensors"), load_meta(folder / "meta.json")
    space, config = get_space(name), SEARCH.model_copy(update={"arm": arm})
    print_ = fingerprint({"job": list(job), "search": config.model_dump(), "data": meta.fingerprint}, [])
    checkpoint = Checkpoint(CACHE / "-".join([*map(str, job), print_[:12]]), print_)
    result = run_search(space, config, train, meta, seed, checkpoint)
    found = decode_seed(seed, space, result.supernet, result.arm, config, DecodeConfig(), train, meta)
    seconds = round(time.perf_counter() - start)
    trained = short_training(f"{name}, {arm}, seed {seed}", found.genotype, seed, folder)
    checkpoint.clear()
    ops = [edge.op for cell in found.genotype.cells.values() for edge in cell.edges]
    return Row(
        date=datetime.date.today().isoformat(),
        space=name,
        arm=arm,
        seed=seed,
        search=settings(),
        genotype=found.genotype.hash,
        normal=edges(found.genotype, "normal"),
        reduce=edges(found.genotype, "reduce"),
        skips=ops.count("skip_connect"),
        noise=ops.count("noise"),
        pools=sum("pool" in op for op in ops),
        supernet_accuracy=round(100 * found.supernet_accuracy, 2),
        subnetwork_accuracy=round(100 * found.subnetwork_accuracy, 2),
        search_seconds=seconds,
        **trained,
    )


def edges(genotype: Genotype, kind: str) -> str:
    """A cell in one line."""
    return " ".join(f"{edge.op}:{edge.source}-{edge.target}" for edge in genotype.cells[kind].edges)


def finished(file: Path) -> dict[Job, dict[str, str]]:
    """The rows of these settings."""
    return {(row["space"], row["arm"], int(row["seed"])): row for row in rows.read(file) if row["search"] == settings()}


def show(jobs: list[Job], file: Path) -> Iterator[str]:
    """The table, as Markdown, and the paired differences of each space's arms."""
    groups: dict[tuple[str, str], dict[int, dict[str, str]]] = defaultdict(dict)
    for job, row in finished(file).items():
        if job in jobs:
            groups[job[:2]][job[2]] = row
    yield "| space | arm | skips of 16 | noise | pools | sub-network | validation | test | each, test | search, training in s |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for (space, arm), group in groups.items():
        found = [group[seed] for seed in sorted(group)]

        def each(key: str, found: list[dict[str, str]] = found) -> str:
            return ", ".join(row[key] for row in found)

        def mean(key: str, found: list[dict[str, str]] = found) -> str:
            return rows.spread([float(row[key]) for row in found])

        yield (
            f"| {space} | {arm} | {each('skips')} | {each('noise')} | {each('pools')} | {mean('subnetwork_accuracy')} "
            f"| {mean('val_accuracy')} | {mean('test_accuracy')} | {each('test_accuracy')} "
            f"| {mean('search_seconds')}, {mean('seconds')} |"
        )
    arms = dict.fromkeys(
        ["midas", "darts-pairs", *(arm for _, arm in groups)]
    )  # MIDAS's and the pair rule's stand first
    for key in ("subnetwork_accuracy", "test_accuracy"):
        yield f"\n{key}, paired difference, 95 % interval:"
        for space in dict.fromkeys(space for space, _ in groups):
            for first, second in itertools.combinations(arms, 2):
                if (space, first) in groups and (space, second) in groups:
                    one, other = (
                        {seed: float(row[key]) for seed, row in groups[space, arm].items()} for arm in (first, second)
                    )
                    yield f"- {space}, {first} minus {second}: {rows.difference(one, other)}"


def main() -> None:
    """Run what is missing, then show the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True)
    parser.add_argument("--spaces", nargs="+", default=[f"rdarts-s{number}" for number in (1, 2, 3, 4)])
    parser.add_argument("--arms", nargs="+", default=["midas", "darts"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--rows", type=Path, default=ROWS, help="another file: what this project ran runs again")
    options = parser.parse_args()
    short_training_images(options.root)
    jobs = [(space, arm, seed) for seed in options.seeds for space in options.spaces for arm in options.arms]
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn"), end_with_parent) as pool:
        left = rows.missing(options.rows, jobs, finished(options.rows))
        for future in as_completed([pool.submit(run, job, options.root) for job in left]):
            rows.append(options.rows, future.result())
    print("\n".join(show(jobs, options.rows)))


if __name__ == "__main__":
    main()
