"""A finished training on disk: weights as safetensors, history as CSV, metrics and cost as JSON."""

from pathlib import Path

import safetensors
from safetensors.torch import load_file, save

from midas.io import files
from midas.io.errors import MidasError
from midas.nets.timm_models import Weights
from midas.train.run import TrainResult


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
    """The weights in a file that `save_training` wrote.

    `data` is the fingerprint of the data that they must have learned from. Raises MidasError where
    the file is missing or damaged, or was trained on other data.
    """
    try:
        weights: Weights = load_file(path)
        with safetensors.safe_open(path, "pt") as opened:
            learned = (opened.metadata() or {}).get("data")
    except FileNotFoundError as error:
        raise MidasError(
            f"{path}: there is no such file; run the train stage of this target first"
        ) from error
    except (safetensors.SafetensorError, OSError) as error:
        raise MidasError(
            f"{path}: is damaged ({error}); run the train stage of this target again"
        ) from error
    if data is not None and learned != data:
        raise MidasError(
            f"{path}: was trained on other data than artifacts/data holds now; run the train stage "
            "again"
        )
    return weights
