"""A finished training on disk, and the trainings of one target that differ by their seed alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import safetensors
from safetensors.torch import load_file, save

from midas.io import files
from midas.io.errors import MidasError
from midas.nets.timm_models import Weights
from midas.train.run import TrainResult

ACCURACIES = ("best_val_accuracy", "last_val_accuracy")
SAME = ("channels", "parameters", "macs")  # of the network, whatever the seed
ROW = ("seed", "epochs", "best_epoch", *ACCURACIES)


def save_training(folder: Path, result: TrainResult) -> None:
    """Write best.safetensors, last.safetensors, history.csv, metrics.json and cost.json."""
    for name, weights in (("best", result.best), ("last", result.last)):
        tensors = {key: tensor.contiguous() for key, tensor in weights.items()}
        files.write_bytes(folder / f"{name}.safetensors", save(tensors, {"data": result.data}))
    files.write_csv(folder / "history.csv", result.history)
    files.write_json(folder / "metrics.json", result.metrics)
    # the times are unknown to DVC, so they say whose they are: weights from its cache have none
    digest = files.sha256(folder / "last.safetensors")
    files.write_json(folder / "cost.json", {**result.cost, "sha256": digest})


def load_weights(path: Path, data: str | None = None) -> Weights:
    """The weights of `save_training`; MidasError for a missing or damaged file, or other `data`."""
    run = "run the train stage of this target"
    try:
        weights: Weights = load_file(path)
        with safetensors.safe_open(path, "pt") as opened:
            learned = (opened.metadata() or {}).get("data")
    except FileNotFoundError as error:
        raise MidasError(f"{path}: there is no such file; {run} first") from error
    except (safetensors.SafetensorError, OSError) as error:
        raise MidasError(f"{path}: is damaged ({error}); {run} again") from error
    if data is not None and learned != data:
        text = "was trained on other data than artifacts/data holds now"
        raise MidasError(f"{path}: {text}; {run} again")
    return weights


def compare_seeds(trained: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """JSON values for the metrics of a target's trainings; the best by `select_by` is kept."""
    kept = min(trained, key=lambda metrics: (-metrics["best_score"], metrics["seed"]))
    result: dict[str, Any] = {
        "kept_seed": kept["seed"],
        "seeds": len(trained),
        **{key: kept[key] for key in SAME},
    }
    for key in ACCURACIES:
        values = [metrics[key] for metrics in trained]
        deviation = round(stdev(values), 6) if len(values) > 1 else None
        result[key] = {"mean": round(mean(values), 6), "deviation": deviation}
    return result


def seed_rows(trained: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each training, for a table and a plot."""
    return [{column: metrics[column] for column in ROW} for metrics in trained]
