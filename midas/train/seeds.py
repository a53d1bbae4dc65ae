"""Trainings of one target that differ by their seed alone: which is kept, and their spread."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

ACCURACIES = ("best_val_accuracy", "last_val_accuracy")
SAME = ("channels", "parameters", "macs")  # of the network, whatever the seed
ROW = ("seed", "epochs", "best_epoch", *ACCURACIES)


def compare_seeds(trained: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """JSON values for the metrics of all trainings of one target, as `train` gives them.

    ``kept_seed`` is the best by `select_by`, the lowest of equals. Accuracies in [0, 1]
    have a ``mean`` and a ``deviation``: the sample's, null for a single seed.
    """
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
