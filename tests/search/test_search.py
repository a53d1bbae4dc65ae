"""The bilevel search on real digits: it resumes to the bit, reports divergence, and finds cells."""

import math
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from midas.data.config import AugmentConfig
from midas.data.prepared import DataMeta, Split
from midas.decode.config import DecodeConfig
from midas.engine import loop, seeding
from midas.engine.checkpoint import Checkpoint
from midas.io.errors import MidasError, ParamsError, TrainingDiverged
from midas.search.bilevel import BilevelSearch
from midas.search.config import SearchConfig
from midas.search.run import SearchResult, load_search, run_search, save_search
from midas.spaces import get_space
from tests.decode.decoding import decode_search, monitored_search

Data = tuple[Split, Split, DataMeta]
TINY = SearchConfig(
    channels=2,
    cells=3,
    epochs=3,
    images=128,
    batch_size=16,
    augment=AugmentConfig(pad=1),
    monitor_images=32,
)
STEPS = 4  # of an epoch of TINY


class Killed(Exception):
    """Stands for the process's end."""


class DyingCheckpoint(Checkpoint):
    """A checkpoint whose process dies after some saves."""

    def __init__(self, folder: Path, saves: int) -> None:
        super().__init__(folder, "same")
        self.saves = saves

    def save(self, state: Any) -> None:
        super().save(state)
        self.saves -= 1
        if self.saves == 0:
            raise Killed


def weights(result: SearchResult) -> list[Tensor]:
    return [*result.supernet.state_dict().values(), *result.method.state_dict().values()]


def assert_equal(result: SearchResult, other: SearchResult) -> None:
    """Equal to the bit, in weights and history."""
    for tensor, other_tensor in zip(weights(result), weights(other), strict=True):
        assert torch.equal(tensor, other_tensor)
    assert result.history == other.history


SEARCHES = [
    pytest.param("darts", "midas", {}, marks=pytest.mark.slow),
    ("rdarts-s4", "midas", {"exclude": []}),  # whose `noise` draws in each pass
    ("nasbench201", "darts", {"cells": 1}),
    ("nasbench201", "drnas", {"cells": 1}),
    ("nasbench201", "gdas", {"cells": 1}),
    ("rdarts-s2", "beta-darts", {"warmup_epochs": 1}),
    ("darts", "random", {}),
]


@pytest.mark.parametrize(("space", "method", "options"), SEARCHES)
def test_a_killed_search_goes_on_to_the_same_bits(
    space: str, method: str, options: dict[str, Any], digits: Data, tmp_path: Path
) -> None:
    config = TINY.model_copy(update={"method": method, **options})
    train, _, meta = digits
    whole = monitored_search(get_space(space), config, train, meta, seed=3)
    for _ in range(2):
        checkpoint = DyingCheckpoint(tmp_path, saves=1)
        with pytest.raises(Killed):
            monitored_search(get_space(space), config, train, meta, 3, checkpoint=checkpoint)
    checkpoint = Checkpoint(tmp_path, "same")
    resumed = monitored_search(get_space(space), config, train, meta, 3, checkpoint=checkpoint)
    assert_equal(whole, resumed)


class Stopped(Exception):
    """Stands for the end that SIGTERM brings."""


@pytest.fixture
def sigterm_raises() -> Iterator[None]:
    """SIGTERM raises `Stopped` where nothing holds it."""

    def stop(*_: object) -> None:
        raise Stopped

    former = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, former)


@pytest.mark.usefixtures("sigterm_raises")
@pytest.mark.parametrize("stop_after", [2, STEPS + 2, 2 * STEPS])  # 2 * STEPS: an epoch's last step
@pytest.mark.parametrize(("space", "method", "options"), SEARCHES)
def test_a_search_stopped_by_a_signal_within_an_epoch_goes_on_to_the_same_bits(
    space: str,
    method: str,
    options: dict[str, Any],
    stop_after: int,
    digits: Data,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = TINY.model_copy(update={"method": method, **options})
    train, _, meta = digits
    whole = monitored_search(get_space(space), config, train, meta, seed=3)
    plain_step = BilevelSearch.step
    steps = 0

    def step_and_signal(search: BilevelSearch, epoch: int, step: int) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == stop_after:
            signal.raise_signal(signal.SIGTERM)
        return plain_step(search, epoch, step)

    monkeypatch.setattr(BilevelSearch, "step", step_and_signal)
    checkpoint = Checkpoint(tmp_path, "same")
    with pytest.raises(Stopped):
        monitored_search(get_space(space), config, train, meta, 3, checkpoint=checkpoint)
    saved = checkpoint.load()
    assert saved is not None
    epochs, step = divmod(stop_after - 1, STEPS)
    assert (len(saved["position"]["history"]), saved["position"]["step"]) == (epochs, step + 1)
    resumed = monitored_search(get_space(space), config, train, meta, 3, checkpoint=checkpoint)
    assert steps == 3 * STEPS, "every step runs once"
    assert_equal(whole, resumed)


def test_a_search_loses_at_most_a_minute_to_a_power_cut(
    digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    train, _, meta = digits
    config = TINY.model_copy(update={"method": "gdas", "cells": 1})
    space = get_space("nasbench201")
    whole = monitored_search(space, config, train, meta)
    with pytest.raises(Killed):
        monitored_search(space, config, train, meta, checkpoint=DyingCheckpoint(tmp_path, 6))
    checkpoint = Checkpoint(tmp_path, "same")
    saved = checkpoint.load()
    assert saved is not None
    # the saves are those of four steps, of the epoch, and of the next epoch's first step
    assert (len(saved["position"]["history"]), saved["position"]["step"]) == (1, 1)
    assert_equal(whole, monitored_search(space, config, train, meta, checkpoint=checkpoint))


def test_a_stack_without_normal_cells_is_refused(digits: Data) -> None:
    train, _, meta = digits
    with pytest.raises(ParamsError, match=r"search\.cells: a stack of 2 has no normal cell"):
        run_search(get_space("darts"), TINY.model_copy(update={"cells": 2}), train, meta, seed=0)


def test_a_loss_that_is_not_a_number_stops_the_search_and_keeps_the_last_good_epoch(
    digits: Data, tmp_path: Path
) -> None:
    train, _, meta = digits
    checkpoint = Checkpoint(tmp_path, "p")
    good = TINY.model_copy(update={"epochs": 1})
    run_search(get_space("darts"), good, train, meta, seed=0, checkpoint=checkpoint)
    kept = checkpoint.path.read_bytes()
    broken = TINY.model_copy(update={"learning_rate": 1e30, "clip": 1e30})
    with pytest.raises(TrainingDiverged, match=r"epoch 2, step \d+; the checkpoint of epoch 1"):
        run_search(get_space("darts"), broken, train, meta, seed=0, checkpoint=checkpoint)
    assert checkpoint.path.read_bytes() == kept


def test_a_history_without_a_monitor_has_the_losses_alone(digits: Data) -> None:
    train, _, meta = digits
    config = TINY.model_copy(update={"cells": 1, "epochs": 2, "warmup_epochs": 1})
    history = run_search(get_space("nasbench201"), config, train, meta, seed=0).history
    losses = ("weight_loss", "weight_accuracy", "arch_loss", "arch_accuracy")
    assert [tuple(row) for row in history] == 2 * [("epoch", "step", "learning_rate", *losses)]
    assert [row["step"] for row in history] == [STEPS, 2 * STEPS]
    assert [row["arch_loss"] is None for row in history] == [True, False]


def test_the_learning_rate_falls_by_a_cosine_from_epoch_to_epoch(digits: Data) -> None:
    train, _, meta = digits
    config = TINY.model_copy(update={"cells": 1})
    history = run_search(get_space("nasbench201"), config, train, meta, seed=0).history
    span = TINY.learning_rate - TINY.min_learning_rate
    expected = [
        TINY.min_learning_rate + span * (1 + math.cos(math.pi * epoch / 3)) / 2
        for epoch in range(3)
    ]
    assert [row["learning_rate"] for row in history] == pytest.approx(expected, abs=1e-8)


def test_a_finished_search_is_read_back_and_a_foreign_one_refused(
    digits: Data, tmp_path: Path
) -> None:
    train, _, meta = digits
    path = tmp_path / "s.safetensors"
    config = TINY.model_copy(update={"epochs": 1})
    result = run_search(get_space("darts"), config, train, meta, seed=0)
    save_search(path, result)
    again = SearchResult(*load_search(path, get_space("darts"), TINY, 10), result.history)
    assert_equal(result, again)
    with pytest.raises(MidasError, match="does not hold this search"):
        load_search(path, get_space("rdarts-s2"), TINY, 10)
    with pytest.raises(MidasError, match="run the search stage"):
        load_search(tmp_path / "none.safetensors", get_space("darts"), TINY, 10)


def planted(digits: Data, seed: int, shuffled: bool, epochs: int = 20) -> list[str]:
    """The decoded operations of a MIDAS search where every edge offers a convolution or noise."""
    train, _, meta = digits
    if shuffled:
        order = torch.randperm(len(train), generator=seeding.generator(seed, "shuffled labels"))
        train = Split(train.images, train.labels[order])
    config = SearchConfig(
        exclude=[],
        channels=8,
        cells=3,
        epochs=epochs,
        batch_size=64,
        learning_rate=0.05,
        augment=AugmentConfig(pad=1),
    )
    space = get_space("rdarts-s4")
    result = run_search(space, config, train, meta, seed)
    genotype, _ = decode_search(space, result, config, DecodeConfig(samples=512), train, meta)
    return [edge.op for cell in genotype.cells.values() for edge in cell.edges]


def test_the_planted_convolution_is_found_on_every_kept_edge(digits: Data) -> None:
    assert planted(digits, seed=0, shuffled=False, epochs=10) == ["sep_conv_3x3"] * 16


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_planted_convolution_is_found_by_every_seed(seed: int, digits: Data) -> None:
    assert planted(digits, seed, shuffled=False) == ["sep_conv_3x3"] * 16


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_with_shuffled_labels_nothing_is_found(seed: int, digits: Data) -> None:
    assert planted(digits, seed, shuffled=True) != ["sep_conv_3x3"] * 16
