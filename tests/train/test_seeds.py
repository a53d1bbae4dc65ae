"""Trainings that differ by their seed: which is kept, and how far they lie apart."""

import statistics

import pytest

from midas.train.store import compare_seeds, seed_rows

SIZE = {"channels": 4, "parameters": 1000, "macs": 20_000}


def trained(seed: int, best: float, last: float) -> dict[str, float]:
    return {
        "seed": seed,
        "epochs": 3,
        "best_epoch": 2,
        "best_score": best,
        "best_val_accuracy": best,
        "last_val_accuracy": last,
        **SIZE,
    }


def test_the_best_by_validation_accuracy_is_kept_and_the_lowest_of_equals() -> None:
    trainings = [trained(0, 0.5, 0.9), trained(1, 0.75, 0.1), trained(2, 0.6, 0.6)]
    assert compare_seeds(trainings)["kept_seed"] == 1
    assert compare_seeds([trained(5, 0.5, 0.5), trained(2, 0.5, 0.4)])["kept_seed"] == 2


def test_mean_and_deviation_are_those_of_a_sample() -> None:
    best = [0.5, 0.75, 0.625]
    last = [0.5, 0.25, 0.375]
    comparison = compare_seeds(
        [trained(seed, *pair) for seed, pair in enumerate(zip(best, last, strict=True))]
    )
    for key, values in (("best_val_accuracy", best), ("last_val_accuracy", last)):
        assert comparison[key]["mean"] == pytest.approx(statistics.mean(values), abs=1e-6)
        assert comparison[key]["deviation"] == pytest.approx(statistics.stdev(values), abs=1e-6)
    assert {key: comparison[key] for key in (*SIZE, "seeds")} == {**SIZE, "seeds": 3}


def test_a_single_training_has_no_deviation() -> None:
    comparison = compare_seeds([trained(3, 0.5, 0.25)])
    assert (comparison["kept_seed"], comparison["best_val_accuracy"]) == (
        3,
        {"mean": 0.5, "deviation": None},
    )


def test_each_training_has_a_row() -> None:
    rows = seed_rows([trained(0, 0.5, 0.25), trained(4, 0.6, 0.6)])
    assert [row["seed"] for row in rows] == [0, 4]
    assert rows[0] == {
        "seed": 0, "epochs": 3, "best_epoch": 2, "best_val_accuracy": 0.5, "last_val_accuracy": 0.25
    }  # fmt: skip
