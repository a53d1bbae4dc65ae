"""The training loop adds up, reports, stops early, and never saves what has diverged."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from sum_job import ALL_STEPS, EPOCHS, STEPS, Sum, at
from torch import Tensor

from midas.engine import loop
from midas.engine.checkpoint import Checkpoint
from midas.engine.distributed import Distributed
from midas.engine.loop import Reporter
from midas.io.errors import TrainingDiverged


def test_the_history_has_the_means_of_each_epoch() -> None:
    job = Sum()
    finished = loop.run(job, EPOCHS)
    assert job.steps == ALL_STEPS
    assert job.begun == [(0, 0), (1, 0), (2, 0)]
    sums = [sum(range(1, number + 2)) for number in range(EPOCHS * STEPS)]
    assert finished.history == [
        {"epoch": k + 1, "loss": sum(sums[4 * k : 4 * k + 4]) / 4, "accuracy": 0.5}
        for k in range(EPOCHS)
    ]
    assert len(finished.seconds) == EPOCHS


def test_a_loss_that_is_not_a_number_ends_the_job_and_the_last_good_checkpoint_is_kept(
    tmp_path: Path,
) -> None:
    def poison() -> None:
        job.weight.fill_(math.nan)

    checkpoint = Checkpoint(tmp_path, "print")
    job = Sum(at(1, 2, poison))
    message = (
        "^sum: the loss is not a number at epoch 2, step 3; the checkpoint of epoch 1 is kept; "
        "lower the sum$"
    )
    with pytest.raises(TrainingDiverged, match=message):
        loop.run(job, EPOCHS, checkpoint)
    rest = Sum()
    assert loop.run(rest, EPOCHS, checkpoint).history == loop.run(Sum(), EPOCHS).history
    assert rest.steps == ALL_STEPS[STEPS:]


def test_a_job_that_diverges_at_once_says_that_nothing_is_kept(tmp_path: Path) -> None:
    class Infinite(Sum):
        def step(self, epoch: int, step: int) -> Tensor:
            return torch.tensor([math.inf, 0.0, 1.0])

    checkpoint = Checkpoint(tmp_path, "print")
    with pytest.raises(TrainingDiverged, match="epoch 1, step 1; no epoch was finished; lower"):
        loop.run(Infinite(), EPOCHS, checkpoint)
    assert checkpoint.load() is None


def test_a_job_that_is_done_stops_early_also_where_it_goes_on(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, "print")
    finished = loop.run(Sum(most=10.0), EPOCHS, checkpoint)
    assert [row["epoch"] for row in finished.history] == [1, 2]
    again = Sum(most=10.0)
    assert loop.run(again, EPOCHS, checkpoint).history == finished.history
    assert again.steps == []


def test_a_finished_job_takes_no_step_and_has_its_seconds(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, "print")
    finished = loop.run(Sum(), EPOCHS, checkpoint)
    again = Sum()
    assert loop.run(again, EPOCHS, checkpoint) == finished
    assert again.steps == []


def test_losses_of_a_gpu_are_read_in_groups_and_none_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loop reads the sums of a GPU every few steps; the device of this one is only a name."""
    reads = []

    class Gpu(Distributed):
        def all_reduce_sum(self, values: Tensor) -> Tensor:
            reads.append(len(values))
            return values

    monkeypatch.setattr(loop, "READ_EVERY", 3)
    finished = loop.run(Sum(), EPOCHS, None, Gpu(device=torch.device("cuda")))
    assert reads == [3, 1] * EPOCHS
    assert finished.history == loop.run(Sum(), EPOCHS).history


def test_of_several_unread_steps_the_first_that_diverged_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = Sum(at(0, 1, lambda: job.weight.fill_(math.nan)))
    monkeypatch.setattr(loop, "READ_EVERY", 4)
    with pytest.raises(TrainingDiverged, match="epoch 1, step 2"):
        loop.run(job, EPOCHS, None, Distributed(device=torch.device("cuda")))


class Recorder(Reporter):
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.notes: list[tuple[str, int]] = []

    def step(self, **values: float) -> None:
        self.losses.append(values["loss"])

    def note(self, text: str, row: Any = None) -> None:
        self.notes.append((text, row["epoch"]))


def test_steps_and_epochs_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    calls = []

    @contextmanager
    def show(title: str, total: int, done: int = 0, quiet: bool = False) -> Iterator[Reporter]:
        calls.append((title, total, done, quiet))
        yield recorder

    monkeypatch.setattr(loop, "progress", show)
    checkpoint = Checkpoint(tmp_path, "print")
    loop.run(Sum(), 1, checkpoint)
    loop.run(Sum(), 2, checkpoint, quiet=True)
    loop.run(Sum(), 1, None, Distributed(1, 1))
    assert calls == [("sum", 4, 0, False), ("sum", 8, 4, True), ("sum", 4, 0, True)]
    assert recorder.losses[:8] == [1.0, 3.0, 6.0, 10.0, 15.0, 21.0, 28.0, 36.0]
    assert recorder.notes[:2] == [
        ("epoch 1/1 loss 5.000 accuracy 0.500", 1),
        ("epoch 2/2 loss 25.000 accuracy 0.500", 2),
    ]


def test_a_process_that_is_not_the_main_one_writes_nothing(tmp_path: Path) -> None:
    class Second(Distributed):
        def all_reduce_sum(self, values: Tensor) -> Tensor:
            return values

    checkpoint = Checkpoint(tmp_path / "checkpoints", "print")
    loop.run(Sum(), EPOCHS, checkpoint, Second(1, 2))
    assert checkpoint.load() is None
