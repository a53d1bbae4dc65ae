"""A finished search on disk: the weights of supernet and method, and the history."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from midas.io import files
from midas.io.errors import MidasError
from midas.search.config import SearchConfig
from midas.search.methods import Method
from midas.search.run import SearchResult, build_search
from midas.search.supernet import Supernet
from midas.spaces.space import Space


def save_search(path: Path, result: SearchResult) -> None:
    """Write the weights of supernet and method, whole or not at all."""
    tensors = _modules(result.supernet, result.method).state_dict()
    files.write_bytes(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}))


def save_history(folder: Path, history: Sequence[dict[str, Any]]) -> None:
    """Write history.csv, a row an epoch, and weights.csv, a row for each weight of each epoch."""
    rows = [{k: v for k, v in row.items() if k != "weights"} for row in history]
    weights = [
        {"epoch": row["epoch"], **weight} for row in history for weight in row.get("weights", [])
    ]
    files.write_csv(folder / "history.csv", rows)
    files.write_csv(folder / "weights.csv", weights)


def steps_of(folder: Path) -> int:
    """How many steps a search made, by its history.csv; MidasError where that names none."""
    path = folder / "history.csv"
    try:
        with path.open(encoding="utf-8", newline="") as table:
            return int([row["step"] for row in csv.DictReader(table)][-1])
    except (OSError, IndexError, KeyError, ValueError) as error:
        raise MidasError(
            f"{path}: holds no history of a search; run the search stage of this seed again"
        ) from error


def load_search(
    path: Path, space: Space, config: SearchConfig, num_classes: int
) -> tuple[Supernet, Method]:
    """Supernet and method as `save_search` left them; MidasError where the file does not fit."""
    supernet, method = build_search(space.without(config.exclude), config, num_classes, seed=0)
    try:
        tensors = load_file(path)
        head = tensors.get("supernet.classifier.bias")
        if head is not None and len(head) != num_classes:
            raise MidasError(
                f"{path}: was searched on data of {len(head)} classes, and artifacts/data holds "
                f"{num_classes} now; run the search stage again"
            )
        _modules(supernet, method).load_state_dict(tensors)
    except FileNotFoundError as error:
        raise MidasError(
            f"{path}: there is no such file; run the search stage of this seed first"
        ) from error
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise MidasError(
            f"{path}: does not hold this search ({reason}); run the search stage again"
        ) from error
    return supernet, method


def _modules(supernet: Supernet, method: Method) -> nn.ModuleDict:
    return nn.ModuleDict({"supernet": supernet, "method": method})  # the names in the file
