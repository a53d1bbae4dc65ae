"""One short training that several benchmarks compare cells by, and the images of all benchmarks."""

import time
from pathlib import Path
from typing import Any

from midas.data.augment import AugmentConfig
from midas.data.config import DataConfig
from midas.data.prepare import prepare
from midas.data.prepared import load_meta, load_split
from midas.genotype import Genotype
from midas.runs import seeding
from midas.train.config import TargetConfig
from midas.train.evaluate import evaluate
from midas.train.loop import train
from midas.train.start import initial_network

CACHE = Path(__file__).parent / ".cache"
SIZE, IMAGES = 16, 10_000
RECIPE = TargetConfig(
    channels=16,
    cells=5,
    epochs=3,
    batch_size=64,
    learning_rate=0.1,
    nesterov=True,
    weight_decay=5e-4,
    schedule="onecycle",
    drop_path=0.0,
    auxiliary_weight=0.0,
    augment=AugmentConfig(pad=2, flip=True),
)


def prepared(name: str, config: DataConfig) -> Path:
    """A folder in benchmarks/.cache with the images as the data stage leaves them, made once."""
    folder = CACHE / name
    if not (folder / "meta.json").is_file():
        prepare(config, folder)
    return folder


def short_training_images(root: str) -> Path:
    """IMAGES images of CIFAR-10, averaged down to SIZE pixels; `root` holds cifar-10-batches-py."""
    config = DataConfig(source="cifar10", root=root, image_size=SIZE, val_fraction=0.05, max_images=IMAGES)
    return prepared(f"cells-{SIZE}", config)


def short_training(title: str, genotype: Genotype, seed: int, folder: Path) -> dict[str, Any]:
    """Train a cell by RECIPE: parameters, macs, val_accuracy and test_accuracy of the best epoch in percent, and seconds."""
    seeding.deterministic()
    start, meta = time.perf_counter(), load_meta(folder / "meta.json")
    network = initial_network(genotype, RECIPE, len(meta.classes), seed=seed)
    splits = [load_split(folder / f"{split}.safetensors") for split in ("train", "val", "test")]
    result = train(network, RECIPE, splits[0], splits[1], meta, title=title, seed=seed)
    network.load_state_dict(result.best)
    _, accuracy = evaluate(network, splits[2], meta)
    return {
        "parameters": result.metrics["parameters"],
        "macs": result.metrics["macs"],
        "val_accuracy": round(100 * result.metrics["best_val_accuracy"], 2),
        "test_accuracy": round(100 * accuracy, 2),
        "seconds": round(time.perf_counter() - start),
    }
