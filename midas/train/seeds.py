"""Trainings of one target that differ by their seed alone: which is kept, and how far they lie apart."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

ACCURACIES = ("best_val_accuracy", "last_val_accuracy")
SAME = ("channels", "parameters", "macs")  # of the network, whatever the seed
ROW = ("seed", "epochs", "best_epoch", *ACCURACIES)


def compare_seeds(trained: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What trainings of one target say together.

    Args:
        trained: the metrics of each, as `train` gives them; at least one.

    Returns:
        JSON values. ``kept_seed``: the best by validation accuracy, the lowest of equals. ``seeds``: how many there are. For
        the validation accuracy of the best and of the last epoch, in [0, 1]: ``mean`` and ``deviation``, the sample's (divided
        by one less than the number of seeds), null for a single seed. ``channels``, ``parameters``, ``macs`` of the network.
    """
    kept = min(trained, key=lambda metrics: (-metrics["best_val_accuracy"], metrics["seed"]))
    result: dict[str, Any] = {"kept_seed": kept["seed"], "seeds": len(trained), **{key: kept[key] for key in SAME}}
    for key in ACCURACIES:
        values = [metrics[key] for metrics in trained]
        deviation = round(stdev(values), 6) if len(values) > 1 else None
        result[key] = {"mean": round(mean(values), 6), "deviation": deviation}
    return result


def seed_rows(trained: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each training, for a table and a plot."""
    return [{column: metrics[column] for column in ROW} for metrics in trained]
