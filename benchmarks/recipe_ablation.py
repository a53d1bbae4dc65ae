"""What each part of the recipe of cifar10-cpu brings: a row for each variant in recipe.csv.

    python benchmarks/recipe_ablation.py --root CIFAR --epochs 6 --seeds 0 1 2

Each variant changes one part of the preset's target and sees the same images; `seconds` say what
that costs. Prints a table of the rows. Rows that exist are not run again.
"""

import datetime
import time
from functools import partial
from pathlib import Path
from typing import Any

import rows

from midas.engine import memory, seeding
from midas.genotype import Genotype
from midas.train.config import TargetConfig
from midas.train.run import train
from midas.train.start import initial_network
from midas.train.validate import evaluate

ROWS = Path(__file__).parent / "recipe.csv"
PRESET = rows.preset("cifar10-cpu")
CELL = (
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
    "+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
)  # the cell of the paper
SGD = {"optimiser": "sgd", "learning_rate": 0.4, "weight_decay": 5e-4}
VARIANTS: dict[str, dict[str, Any]] = {
    "preset": {},
    "published stem, half the width": {"skeleton": "cifar", "channels": 32},
    "SGD": SGD,
    "label smoothing": {"label_smoothing": 0.1},
    "random flips": {"alternate_flip": False},
    "full size from the start": {"start_size": None},
    "no average of weights": {"ema": None},
    "float32": {"precision": "float32"},
    "one replica": {"replicas": 1},
    "padding of 2, no cutout": {"augment": {"pad": 2, "reflect": True, "flip": True}},
}


def run(job: tuple[str, int, int], root: str) -> rows.Row:
    """Train one variant with one seed for some epochs."""
    variant, epochs, seed = job
    memory.keep_freed()
    seeding.deterministic()
    splits, meta = rows.images(root, PRESET["data"])
    target = {**PRESET["targets"]["cifar10"], "minutes": None, "epochs": epochs}
    config = TargetConfig(**{**target, **VARIANTS[variant]})
    start = time.perf_counter()
    network = initial_network(Genotype.from_arch(CELL), config, len(meta.classes), seed=seed)
    result = train(network, config, splits["train"], splits["val"], meta, title=variant, seed=seed)
    seconds = time.perf_counter() - start
    network.load_state_dict(result.best)
    accuracy = evaluate(network, splits["test"], meta).accuracy
    return {
        "date": datetime.date.today().isoformat(),
        "variant": variant,
        "epochs": epochs,
        "seed": seed,
        "precision": result.metrics["precision"],
        "val_accuracy": round(100 * result.metrics["best_val_accuracy"], 2),
        "test_accuracy": round(100 * accuracy, 2),
        "seconds": round(seconds),
        "processor": rows.processor(),
    }


def main() -> None:
    """Run what has no row yet, and print the table."""
    parser = rows.parser(__doc__, ROWS)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.set_defaults(jobs=1)
    options = parser.parse_args()
    jobs = [(name, options.epochs, seed) for seed in options.seeds for name in options.variants]
    done = {(r["variant"], int(r["epochs"]), int(r["seed"])) for r in rows.read(options.rows)}
    rows.run_missing(options, jobs, done, partial(run, root=options.root))
    tests: dict[str, dict[int, float]] = {}
    for row in rows.read(options.rows):
        if int(row["epochs"]) == options.epochs:
            tests.setdefault(row["variant"], {})[int(row["seed"])] = float(row["test_accuracy"])
    print("| variant | seeds | test accuracy | minus the preset |\n|---|---|---|---|")
    for name, by_seed in tests.items():
        change = "" if name == "preset" else rows.difference(by_seed, tests.get("preset", {}))
        print(f"| {name} | {len(by_seed)} | {rows.spread(list(by_seed.values()))} | {change} |")


if __name__ == "__main__":
    main()
