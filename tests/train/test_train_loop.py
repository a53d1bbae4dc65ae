"""A training learns, repeats itself, goes on after an interruption, and stops at nonsense."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from midas.data.prepared import DataMeta, Split
from midas.engine.checkpoint import Checkpoint
from midas.genotype import Genotype
from midas.io.errors import DataError, MidasError, TrainingDiverged
from midas.train import training
from midas.train.config import TargetConfig
from midas.train.run import TrainResult, train
from midas.train.start import initial_network
from midas.train.store import load_weights, save_training
from midas.train.validate import Validation, evaluate
from midas.zoo.registry import ZOO

GENOTYPE = Genotype.from_value(ZOO["darts_v2"]["genotype"])
META = DataMeta(
    classes=("dark", "light"),
    size=8,
    mean=(0.5, 0.5, 0.5),
    std=(0.3, 0.3, 0.3),
    counts={"train": 64, "val": 32},
    fingerprint="0",
    source="test",
    resize={},
    duplicates=0,
)
RECIPE: dict[str, Any] = {
    "channels": 4, "cells": 2, "epochs": 4, "batch_size": 16, "learning_rate": 0.1,
    "augment": {"pad": 1, "flip": True, "cutout": 2},
}  # fmt: skip


def split(count: int, seed: int) -> Split:
    """Noisy images that are dark or light."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    noise = torch.randint(0, 150, (count, 8, 8, 3), generator=generator)
    images = (noise + 100 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    return Split(images.permute(0, 3, 1, 2), labels)


TRAIN = split(64, 0)
VAL = split(32, 1)


def run(
    checkpoint: Checkpoint | None = None, train_split: Split = TRAIN, seed: int = 0, **changes: Any
) -> TrainResult:
    config = TargetConfig(**{**RECIPE, **changes})
    network = initial_network(GENOTYPE, config, 2, seed=seed)
    return train(network, config, train_split, VAL, META, checkpoint, seed=seed)


def equal(result: TrainResult, other: TrainResult) -> bool:
    """Equal to the bit in everything but time."""
    same_weights = all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
        for a, b in ((result.best, other.best), (result.last, other.last))
    )
    same_numbers = result.history == other.history and result.metrics == other.metrics
    return same_weights and same_numbers


class PowerCut(Exception):
    """What ends a run from outside."""


class Unplugged(Checkpoint):
    """A checkpoint whose machine loses power right before or right after the nth save."""

    def __init__(self, folder: Path, saves: int, before: bool) -> None:
        super().__init__(folder, "print")
        self.left = saves
        self.before = before

    def save(self, state: Any) -> None:
        self.left -= 1
        if self.left == 0 and self.before:
            raise PowerCut
        super().save(state)
        if self.left == 0:
            raise PowerCut


def test_it_learns_what_can_be_learned() -> None:
    result = run(epochs=8)
    assert result.metrics["best_val_accuracy"] >= 0.9
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    assert equal(run(epochs=2), run(epochs=2))
    assert not equal(run(epochs=2), run(epochs=2, seed=1))


@pytest.mark.parametrize("changes", [{}, {"ema": 0.9}, {"replicas": 2, "drop_path": 0}])
@pytest.mark.parametrize("before", [True, False], ids=["before the save", "after the save"])
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    tmp_path: Path, changes: dict[str, Any], before: bool
) -> None:
    whole = run(**changes)
    with pytest.raises(PowerCut):
        run(Unplugged(tmp_path, saves=3, before=before), **changes)
    resumed = run(Checkpoint(tmp_path, "print"), **changes)
    assert equal(whole, resumed)


def test_a_run_that_is_cut_in_the_middle_of_an_epoch_goes_on_from_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run()
    calls = 0

    def failing(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 7:  # the third step of the second epoch
            raise PowerCut
        return clip(*args, **kwargs)

    clip = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", failing)
    with pytest.raises(PowerCut):
        run(Checkpoint(tmp_path, "print"))
    monkeypatch.undo()
    saved = Checkpoint(tmp_path, "print").load()
    assert saved is not None
    assert len(saved["position"]["history"]) == 1
    assert equal(whole, run(Checkpoint(tmp_path, "print")))


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = run(Checkpoint(tmp_path, "print"))
    again = run(Checkpoint(tmp_path, "print"))
    assert equal(first, again)
    assert first.cost == again.cost  # so no epoch was run


def test_the_best_epoch_is_the_last_of_equals_and_its_weights_are_kept() -> None:
    result = run(epochs=6)
    accuracies = [row["val_accuracy"] for row in result.history]
    assert result.metrics["best_epoch"] == len(accuracies) - accuracies[::-1].index(max(accuracies))
    for weights, accuracy in ((result.best, max(accuracies)), (result.last, accuracies[-1])):
        network = initial_network(GENOTYPE, TargetConfig(**RECIPE), 2)
        network.load_state_dict(weights)
        assert evaluate(network, VAL, META)[1] == pytest.approx(accuracy, abs=1e-6)


def test_of_equal_epochs_the_last_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "evaluate", lambda *_: Validation(1.0, 0.5, 0.5))
    result = run()
    assert result.metrics["best_epoch"] == 4
    seen = "stem0.1.num_batches_tracked"
    assert (int(result.best[seen]), int(result.last[seen])) == (16, 16)


def test_the_history_has_a_row_for_each_epoch() -> None:
    result = run(epochs=3)
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    assert list(result.history[0]) == [
        "epoch", "learning_rate", "train_loss", "train_accuracy", "val_loss", "val_accuracy",
        "val_balanced_accuracy",
    ]  # fmt: skip
    assert result.history[0]["learning_rate"] == 0.1
    assert "seconds" not in str(result.metrics)


def test_the_auxiliary_head_trains_the_network_but_is_not_in_it() -> None:
    with_head, without = run(epochs=1), run(epochs=1, auxiliary_weight=0)
    assert with_head.last.keys() == without.last.keys()
    assert not torch.equal(with_head.last["stem0.0.weight"], without.last["stem0.0.weight"])


def test_the_moving_average_is_what_is_kept() -> None:
    assert not torch.equal(
        run(epochs=1).last["stem0.0.weight"], run(epochs=1, ema=0.5).last["stem0.0.weight"]
    )


def test_clipping_bounds_the_step() -> None:
    start = initial_network(GENOTYPE, TargetConfig(**RECIPE), 2).state_dict()["classifier.weight"]
    end = run(epochs=1, batch_size=64, clip=1e-3, weight_decay=0).last["classifier.weight"]
    assert 0 < (end - start).norm() <= 1e-3 * 0.1 * 1.001


def test_a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_last_good_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poisoned(parameters: Any, limit: float) -> Any:
        nonlocal calls
        calls += 1
        if calls == 5:  # the first step of the second epoch
            parameters[0].data.fill_(float("nan"))
        return torch.zeros(())

    calls = 0
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", poisoned)
    with pytest.raises(
        TrainingDiverged, match=r"epoch 2, step 2; the checkpoint of epoch 1 is kept"
    ):
        run(Checkpoint(tmp_path, "print"))
    saved = Checkpoint(tmp_path, "print").load()
    assert saved is not None
    assert [row["epoch"] for row in saved["position"]["history"]] == [1]
    weights = saved["job"]["modules"]
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_too_few_images_for_a_batch_are_named() -> None:
    with pytest.raises(DataError, match="do not fill one batch of 16"):
        run(train_split=split(10, 0))


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    result = run(epochs=2)
    save_training(tmp_path, result)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.safetensors", "cost.json", "history.csv", "last.safetensors", "metrics.json"
    ]  # fmt: skip
    assert load_file(tmp_path / "last.safetensors").keys() == result.last.keys()
    weights = load_weights(tmp_path / "best.safetensors")
    assert all(torch.equal(weights[name], tensor) for name, tensor in result.best.items())
    assert json.loads((tmp_path / "metrics.json").read_text()) == result.metrics
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_accuracy"]) for row in rows] == [
        row["val_accuracy"] for row in result.history
    ]


def test_missing_or_damaged_weights_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(MidasError, match="run the train stage of this target first"):
        load_weights(tmp_path / "best.safetensors")
    (tmp_path / "best.safetensors").write_bytes(b"nonsense")
    with pytest.raises(MidasError, match="is damaged"):
        load_weights(tmp_path / "best.safetensors")
