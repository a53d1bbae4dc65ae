"""What the scripts share that fill a csv file: a row for each finished job, paired differences, the
images, and the short training by which cells are compared.
"""

import argparse
import csv
import math
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

import yaml
from scipy.stats import t

from midas.data.config import AugmentConfig, DataConfig
from midas.data.prepare import prepare
from midas.data.prepared import DataMeta, Split, load_meta, load_split
from midas.engine import seeding
from midas.engine.distributed import end_with_parent
from midas.genotype import Genotype
from midas.io import files
from midas.train.config import TargetConfig
from midas.train.run import train
from midas.train.start import initial_network
from midas.train.validate import evaluate

ROOT = Path(__file__).parents[1]
CACHE = ROOT / "benchmarks/.cache"  # git-ignored: prepared images and checkpoints
# a job goes on from a checkpoint of the same code
CODE = [ROOT / "midas" / room for room in ("data", "decode", "engine", "proxy", "search")]
SMALL = {"source": "cifar10", "image_size": 16, "max_images": 10_000, "val_fraction": 0.05}
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
Row = dict[str, Any]
Job = TypeVar("Job")


def parser(doc: str | None, path: Path) -> argparse.ArgumentParser:
    """The options of such a script, from its docstring and the file of its rows."""
    result = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--root", required=True, help="the folder that holds cifar-10-batches-py")
    result.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    result.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes side by side")
    result.add_argument("--rows", type=Path, default=path, help=f"by default {path.name}")
    return result


def run_missing(
    options: argparse.Namespace,
    jobs: Sequence[Job],
    done: Container[Job],
    run: Callable[[Job], Row],
) -> None:
    """Run the jobs that have no row yet in processes, and append each row as soon as it is there:
    hours of runs can be stopped and go on.
    """
    left = [job for job in jobs if job not in done]
    if not left:
        print(f"{options.rows} has a row for each of these jobs; --rows FILE runs them again\n")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, context, end_with_parent) as executor:
        for future in as_completed([executor.submit(run, job) for job in left]):
            append(options.rows, future.result())


def read(path: Path) -> list[dict[str, str]]:
    """All rows so far."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def append(path: Path, row: Row) -> None:
    """Add one finished row; the file stays whole, whatever happens."""
    table: list[Row] = [*read(path), row]
    columns = dict.fromkeys(name for entry in table for name in entry)  # older rows may lack some
    files.write_csv(path, [{name: entry.get(name, "") for name in columns} for entry in table])


def spread(values: Sequence[float]) -> str:
    """Mean and sample standard deviation."""
    mean = f"{statistics.mean(values):.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def difference(first: Mapping[int, float], second: Mapping[int, float]) -> str:
    """`first` minus `second`, paired by seed, with Student's 95 % interval, and what it shows."""
    pairs = [first[seed] - second[seed] for seed in sorted(set(first) & set(second))]
    if len(pairs) < 2:
        return "fewer than two seeds in common"
    mean = statistics.mean(pairs)
    error = statistics.stdev(pairs) / math.sqrt(len(pairs))
    half = float(t.ppf(0.975, len(pairs) - 1)) * error
    shown = "better" if mean - half > 0 else "worse" if mean + half < 0 else "no difference shown"
    return f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}], {shown}"


def processor() -> str:
    """The processor's name, and which of its instructions multiply bfloat16."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        values.setdefault(key.strip(), value.strip())
    flags = set(values.get("flags", "").split())
    has = [name for name in ("amx_bf16", "avx512_bf16", "avx512f") if name in flags]
    return f"{values.get('model name', platform.machine())} ({', '.join(has) or 'no AVX-512'})"


def preset(name: str) -> dict[str, Any]:
    """A preset's sections."""
    text = (ROOT / f"presets/{name}.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def images(root: str, config: Mapping[str, Any] = SMALL) -> tuple[dict[str, Split], DataMeta]:
    """The splits of CIFAR-10 as the data stage leaves them, prepared at the first call.

    Raises:
        MidasError: `root` does not hold the images.
    """
    folder = CACHE / f"{config.get('image_size') or 'own'}-{config.get('max_images') or 'all'}"
    if not (folder / "meta.json").is_file():
        prepare(DataConfig(**{**config, "root": root}), folder)
    meta = load_meta(folder / "meta.json")
    return {name: load_split(folder / f"{name}.safetensors") for name in meta.counts}, meta


def train_cell(title: str, genotype: Genotype, seed: int, root: str) -> Row:
    """Train a cell by RECIPE; returns the columns `parameters`, `macs`, `val_accuracy` and
    `test_accuracy` of the best epoch in percent, and `seconds`.
    """
    seeding.deterministic()
    start = time.perf_counter()
    splits, meta = images(root)
    network = initial_network(genotype, RECIPE, len(meta.classes), seed=seed)
    result = train(network, RECIPE, splits["train"], splits["val"], meta, title=title, seed=seed)
    network.load_state_dict(result.best)
    accuracy = evaluate(network, splits["test"], meta).accuracy
    return {
        "parameters": result.metrics["parameters"],
        "macs": result.metrics["macs"],
        "val_accuracy": round(100 * result.metrics["best_val_accuracy"], 2),
        "test_accuracy": round(100 * accuracy, 2),
        "seconds": round(time.perf_counter() - start),
    }
