"""A finished search on disk: one safetensors file with the supernet's and the arm's weights, and its history."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from midas.runs import files
from midas.runs.errors import MidasError
from midas.search.arms import Arm
from midas.search.bilevel import SearchResult, build_search
from midas.search.config import SearchConfig
from midas.search.supernet import Supernet
from midas.spaces.space import Space


def save_search(path: Path, result: SearchResult) -> None:
    """Write the weights of supernet and arm, whole or not at all."""
    parts = {"supernet": result.supernet, "arm": result.arm}
    tensors = {
        f"{part}.{name}": t.contiguous() for part, module in parts.items() for name, t in module.state_dict().items()
    }
    files.write_bytes(path, save(tensors))


def save_history(folder: Path, history: Sequence[dict[str, Any]]) -> None:
    """Write history.csv, a row an epoch, and weights.csv, a row for each weight of each epoch (`choice_rows`)."""
    files.write_csv(folder / "history.csv", [{k: v for k, v in row.items() if k != "weights"} for row in history])
    files.write_csv(
        folder / "weights.csv", [{"epoch": row["epoch"], **weight} for row in history for weight in row["weights"]]
    )


def steps_of(folder: Path) -> int:
    """How many steps a search made, by its history.csv: fewer than it was told where it stopped early.

    Raises:
        MidasError: there is no history, or no epoch in it.
    """
    path = folder / "history.csv"
    try:
        with path.open(encoding="utf-8", newline="") as table:
            return int([row["step"] for row in csv.DictReader(table)][-1])
    except (OSError, IndexError, KeyError, ValueError) as error:
        raise MidasError(f"{path}: holds no history of a search; run the search stage of this seed again") from error


def load_search(path: Path, space: Space, config: SearchConfig, num_classes: int) -> tuple[Supernet, Arm]:
    """Supernet and arm as `save_search` left them.

    Raises:
        MidasError: the file is missing, damaged, or of another space, configuration or number of classes.
    """
    supernet, arm = build_search(space.without(config.exclude), config, num_classes, seed=0)
    try:
        tensors = load_file(path)
        if (head := tensors.get("supernet.classifier.bias")) is not None and len(head) != num_classes:
            raise MidasError(
                f"{path}: was searched on data of {len(head)} classes, and artifacts/data holds {num_classes} now; "
                "run the search stage again"
            )
        for part, module in (("supernet", supernet), ("arm", arm)):
            names = {name.removeprefix(f"{part}."): t for name, t in tensors.items() if name.startswith(f"{part}.")}
            module.load_state_dict(names)
    except FileNotFoundError as error:
        raise MidasError(f"{path}: there is no such file; run the search stage of this seed first") from error
    except (SafetensorError, RuntimeError, OSError) as error:
        raise MidasError(
            f"{path}: does not hold this search ({str(error).splitlines()[0]}); run the search stage again"
        ) from error
    return supernet, arm
