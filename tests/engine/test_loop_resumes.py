"""A job that was stopped, by a signal or a power cut, goes on to the same bits."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sum_job import ALL_STEPS, EPOCHS, STEPS, Sum, at
from torch import Tensor

from midas.engine import loop
from midas.engine.checkpoint import Checkpoint
from midas.engine.distributed import Distributed
from midas.engine.loop import Row
from midas.io.errors import MidasError


class Stopped(Exception):
    """What the signal's former handler raises."""


@pytest.fixture(autouse=True)
def _signals_raise() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Stopped

    former = {number: signal.signal(number, stop) for number in loop.SIGNALS}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", loop.SIGNALS)
@pytest.mark.parametrize("stop_at", ALL_STEPS)
def test_a_signal_saves_every_finished_step_and_a_second_run_goes_on_from_there(
    number: signal.Signals, stop_at: tuple[int, int], tmp_path: Path
) -> None:
    whole = loop.run(Sum(), EPOCHS)
    checkpoint = Checkpoint(tmp_path, "print")
    job = Sum(at(*stop_at, lambda: signal.raise_signal(number)))
    with pytest.raises(Stopped):
        loop.run(job, EPOCHS, checkpoint)
    assert job.steps[-1] == stop_at
    rest = Sum()
    assert loop.run(rest, EPOCHS, checkpoint).history == whole.history
    assert job.steps + rest.steps == ALL_STEPS


def test_a_signal_whose_handler_returns_ends_the_job_with_an_error(tmp_path: Path) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    job = Sum(at(1, 1, lambda: signal.raise_signal(signal.SIGTERM)))
    with pytest.raises(MidasError, match="sum: interrupted; the checkpoint holds every finished"):
        loop.run(job, EPOCHS, Checkpoint(tmp_path, "print"))


def test_a_signal_between_two_epochs_is_not_lost(tmp_path: Path) -> None:
    class Interrupted(Sum):
        def end_epoch(self, epoch: int, sums: Tensor) -> Row:
            signal.raise_signal(signal.SIGTERM)
            return super().end_epoch(epoch, sums)

    for epochs in (1, EPOCHS):
        checkpoint = Checkpoint(tmp_path / str(epochs), "print")
        job = Interrupted()
        with pytest.raises(Stopped):
            loop.run(job, epochs, checkpoint)
        # where another epoch follows, it takes a step, so that all processes stop at the same one
        assert job.steps == ALL_STEPS[: STEPS + (epochs > 1)]
        whole = loop.run(Sum(), epochs)
        assert loop.run(Sum(), epochs, checkpoint).history == whole.history


def test_a_signal_to_another_process_stops_this_one_after_the_same_step(tmp_path: Path) -> None:
    class Other(Distributed):
        """Two processes with equal sums, of which the other one gets a signal in its sixth step."""

        def all_reduce_sum(self, values: Tensor) -> Tensor:
            nonlocal reductions
            reductions += 1
            values *= 2
            values[:, -1] += reductions == 6
            return values

    reductions = 0
    checkpoint = Checkpoint(tmp_path, "print")
    job = Sum()
    with pytest.raises(Stopped):
        loop.run(job, EPOCHS, checkpoint, Other(0, 2))
    assert job.steps == ALL_STEPS[:6]
    assert loop.run(Sum(), EPOCHS, checkpoint).history[0] == loop.run(Sum(), 1).history[0]


class Clock:
    """A clock that every step moves on by ten seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(loop.time, "monotonic", lambda: self.now)

    def tick(self, epoch: int, step: int) -> None:
        self.now += 10.0


def test_the_seconds_of_an_epoch_add_up_over_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 1e9)
    checkpoint = Checkpoint(tmp_path, "print")

    def tick_and_stop(epoch: int, step: int) -> None:
        clock.tick(epoch, step)
        if (epoch, step) == (1, 2):
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stopped):
        loop.run(Sum(tick_and_stop), EPOCHS, checkpoint)
    clock.now += 1e6  # between the runs, which counts for nothing
    assert loop.run(Sum(clock.tick), EPOCHS, checkpoint).seconds == [40.0] * EPOCHS


def test_within_an_epoch_the_state_is_saved_each_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves: list[tuple[int, int]] = []

    class Noted(Checkpoint):
        def save(self, state: Any) -> None:
            super().save(state)
            saves.append((len(state["position"]["history"]), state["position"]["step"]))

    clock = Clock(monkeypatch)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 15.0)
    checkpoint = Noted(tmp_path, "print")
    assert loop.run(Sum(clock.tick), 2, checkpoint).seconds == [40.0] * 2
    assert saves == [(0, 2), (0, 4), (1, 0), (1, 2), (1, 4), (2, 0)]


@pytest.mark.parametrize("saves", range(1, 16))
def test_a_job_goes_on_from_any_save(
    saves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unplugged(Checkpoint):
        left = saves

        def save(self, state: Any) -> None:
            super().save(state)
            self.left -= 1
            if not self.left:
                raise Stopped

    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)  # after each step
    with pytest.raises(Stopped):
        loop.run(Sum(), EPOCHS, Unplugged(tmp_path, "print"))
    resumed = loop.run(Sum(), EPOCHS, Checkpoint(tmp_path, "print"))
    assert resumed.history == loop.run(Sum(), EPOCHS).history
