"""CIFAR-10 made unequal, 100 to 1 over the classes, and the ways to train on it.

    python benchmarks/imbalance.py --root CIFAR --seeds 0 1 2

Class k keeps a share of 100^(-k / 9) of its training images. The network is the paper's
NAS-Bench-201 cell at 32 channels, trained by the recipe of presets/cifar10-cpu.yaml. Rows go to
imbalance.csv; prints the balanced accuracy of each way on the test images, which stay equal.
"""

import datetime
import time
from functools import partial
from pathlib import Path
from typing import Any

import recipe_ablation
import rows
import torch

from midas.data.prepared import Split
from midas.engine import memory, seeding
from midas.genotype import Genotype
from midas.train.config import TargetConfig
from midas.train.run import train
from midas.train.start import initial_network
from midas.train.validate import evaluate

ROWS = Path(__file__).parent / "imbalance.csv"
RATIO = 100
WAYS: dict[str, dict[str, Any]] = {
    "none": {},
    "class_weights: balanced": {"class_weights": "balanced"},
    "class_weights: effective": {"class_weights": "effective"},
    "balanced_batches": {"balanced_batches": True},
}


def unequal(split: Split, classes: int) -> Split:
    """The first images of each class, exponentially fewer from class to class."""
    kept = []
    for label in range(classes):
        index = (split.labels == label).nonzero().flatten()
        kept.append(index[: round(len(index) * RATIO ** (-label / (classes - 1)))])
    index = torch.cat(kept)
    return Split(split.images[index], split.labels[index])


def run(job: tuple[str, int, int], root: str) -> rows.Row:
    """Train one way with one seed."""
    way, epochs, seed = job
    memory.keep_freed()
    seeding.deterministic()
    splits, meta = rows.images(root, recipe_ablation.PRESET["data"])
    target = {**recipe_ablation.PRESET["targets"]["cifar10"], "minutes": None, "epochs": epochs}
    changes = {**WAYS[way], "batch_size": 128, "channels": 32, "select_by": "balanced_accuracy"}
    config = TargetConfig(**{**target, **changes})
    start = time.perf_counter()
    genotype = Genotype.from_arch(recipe_ablation.CELL)
    network = initial_network(genotype, config, len(meta.classes), seed=seed)
    images = unequal(splits["train"], len(meta.classes))
    result = train(network, config, images, splits["val"], meta, title=way, seed=seed)
    network.load_state_dict(result.best)
    return {
        "date": datetime.date.today().isoformat(),
        "way": way,
        "epochs": epochs,
        "seed": seed,
        "images": len(images),
        "balanced_accuracy": round(
            100 * evaluate(network, splits["test"], meta).balanced_accuracy, 2
        ),
        "seconds": round(time.perf_counter() - start),
        "processor": rows.processor(),
    }


def main() -> None:
    """Run what has no row yet, and print the table."""
    parser = rows.parser(__doc__, ROWS)
    parser.add_argument("--epochs", type=int, default=12)
    parser.set_defaults(jobs=1)
    options = parser.parse_args()
    jobs = [(way, options.epochs, seed) for seed in options.seeds for way in WAYS]
    done = {(r["way"], int(r["epochs"]), int(r["seed"])) for r in rows.read(options.rows)}
    rows.run_missing(options, jobs, done, partial(run, root=options.root))
    found: dict[str, dict[int, float]] = {}
    for row in rows.read(options.rows):
        if int(row["epochs"]) == options.epochs:
            found.setdefault(row["way"], {})[int(row["seed"])] = float(row["balanced_accuracy"])
    print("| way | seeds | balanced accuracy, test | minus none |\n|---|---|---|---|")
    for way, by_seed in found.items():
        change = "" if way == "none" else rows.difference(by_seed, found.get("none", {}))
        print(f"| {way} | {len(by_seed)} | {rows.spread(list(by_seed.values()))} | {change} |")


if __name__ == "__main__":
    main()
