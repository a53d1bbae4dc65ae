"""The one training loop: epochs of steps with progress, checkpoints, signals and early stopping.

SIGINT and SIGTERM take effect after the step. A job that goes on from a checkpoint ends in the
same bytes as one that was never stopped.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from midas.engine.checkpoint import Checkpoint
from midas.engine.distributed import ALONE, Distributed
from midas.io.errors import MidasError, TrainingDiverged

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Reporter:
    """Receives the reports of one computation. This one shows nothing."""

    def step(self, **values: float) -> None:
        """One step is done; `values` are its loss and accuracy."""

    def skip(self, count: int) -> None:
        """So many steps needed no work, because an earlier run has done them."""

    def note(self, text: str, row: Mapping[str, Any] | None = None) -> None:
        """A line of `text` that stays, and the numbers of an epoch."""


Show = Callable[[str, int, int], AbstractContextManager[Reporter]]  # of title, total and done steps


_show: Show | None = None


def show_progress_with(show: Show | None) -> None:
    """Let `show` make the reporters from now on, in this process."""
    global _show
    _show = show


def progress(
    title: str, total: int, done: int = 0, quiet: bool = False
) -> AbstractContextManager[Reporter]:
    """Report `total` steps of which an earlier run made `done`; nothing is shown where `quiet`."""
    return nullcontext(Reporter()) if quiet or _show is None else _show(title, total, done)


class Interruption:
    """The number of the signal that has arrived, or None."""

    number: int | None = None


@contextmanager
def held_signals() -> Iterator[Interruption]:
    """Hold signals back within the block; at its end the former handler receives the last one."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return

    def note(number: int, frame: FrameType | None) -> None:
        interruption.number = number

    former = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    if interruption.number is not None:
        signal.raise_signal(interruption.number)


Row = dict[str, Any]
SAVE_SECONDS = 60.0  # between two checkpoints within an epoch: the most that a power cut costs
READ_EVERY = 20  # steps of a GPU between two looks at its losses: the host must run ahead of it


class Job:
    """What differs between the trainings that run in one loop."""

    title: str  # what progress and errors call the job
    steps_per_epoch: int
    advice: str = "lower the learning rate"  # where the loss diverges

    def begin_epoch(self, epoch: int, step: int) -> None:
        """Prepare an epoch, counted from 0, that goes on from a step."""

    def step(self, epoch: int, step: int) -> Tensor:
        """Make a step; returns what this process adds to the epoch's sums, `batch_sums` first."""
        raise NotImplementedError

    def end_epoch(self, epoch: int, sums: Tensor) -> Row:
        """The epoch's row of the history, from the sums over its steps and all processes."""
        return {"epoch": epoch + 1, **self.metrics(sums)}

    def metrics(self, sums: Tensor) -> dict[str, float]:
        """`loss` and `accuracy` from sums over some steps."""
        loss, hits, images = sums[:3].tolist()
        return {"loss": loss / images, "accuracy": hits / images}

    def is_done(self, history: list[Row]) -> bool:
        """Whether to stop before the last epoch."""
        return False

    def describe(self, row: Row) -> str:
        """An epoch in one line, for people."""
        return f"loss {row['loss']:.3f} accuracy {row['accuracy']:.3f}"

    def state(self) -> dict[str, Any]:
        """Everything of the job that the next step depends on: tensors and plain values."""
        raise NotImplementedError

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        raise NotImplementedError


def batch_sums(loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """A batch's loss times images, hits and images, [3] on the device."""
    hits = (logits.detach().argmax(1) == labels).sum()
    count = len(labels)
    return torch.stack([loss.detach() * count, hits.to(loss), loss.new_full((), count)])


@dataclass
class Position:
    """Where a job is: its finished epochs, and the steps of the next one."""

    history: list[Row] = field(default_factory=list)  # one row an epoch
    seconds: list[float] = field(default_factory=list)  # of each epoch; no result depends on them
    step: int = 0
    sums: Tensor | None = None  # over the steps of the unfinished epoch
    spent: float = 0.0  # seconds of the unfinished epoch in earlier runs


def run(
    job: Job,
    epochs: int,
    checkpoint: Checkpoint | None = None,
    distributed: Distributed = ALONE,
    quiet: bool = False,
) -> Position:
    """Run a job for at most `epochs`, or go on with it where a checkpoint stands.

    `checkpoint` keeps the state after each epoch and minute, and at a signal.

    Raises:
        TrainingDiverged: a loss is not a number; the checkpoint holds the last good state.
        MidasError: the job was interrupted, or another process of the run has ended.
    """
    position = Position()
    if checkpoint and (saved := checkpoint.load()):
        job.restore(saved["job"])
        position = Position(**saved["position"])
    history = position.history
    done = len(history) * job.steps_per_epoch + position.step
    total = epochs * job.steps_per_epoch
    hidden = quiet or not distributed.is_main
    with progress(job.title, total, done, quiet=hidden) as report, held_signals() as signals:
        loop = _Loop(job, position, checkpoint, distributed, report, signals)
        while len(history) < epochs and not job.is_done(history) and loop.epoch():
            row = history[-1]
            report.note(f"epoch {row['epoch']}/{epochs} {job.describe(row)}", row)
    if signals.number is not None:
        raise MidasError(
            f"{job.title}: interrupted; the checkpoint holds every finished step: run it again to "
            "go on"
        )
    return loop.position


@dataclass
class _Loop:
    """The epochs of one job in this process."""

    job: Job
    position: Position
    checkpoint: Checkpoint | None
    distributed: Distributed
    report: Reporter
    interruption: Interruption

    def epoch(self) -> bool:
        """Run the rest of an epoch and add its row to the history; False where a signal arrived."""
        job = self.job
        position = self.position
        epoch = len(position.history)
        read_every = READ_EVERY if self.distributed.device.type == "cuda" else 1
        start = saved = time.monotonic()
        unread: list[Tensor] = []
        job.begin_epoch(epoch, position.step)
        for step in range(position.step, job.steps_per_epoch):
            unread.append(job.step(epoch, step))
            if len(unread) < read_every and step + 1 < job.steps_per_epoch:
                continue
            self._read(unread, epoch, step)
            unread = []
            position.step = step + 1
            stopped = self.interruption.number is not None
            if stopped or time.monotonic() - saved > SAVE_SECONDS:
                position.spent += time.monotonic() - start
                start = saved = time.monotonic()
                self._save()
            if stopped:
                return False
        assert position.sums is not None, "an epoch has at least one step"
        position.history.append(job.end_epoch(epoch, position.sums))
        position.seconds.append(round(position.spent + time.monotonic() - start, 3))
        self.position = Position(position.history, position.seconds)
        self._save()
        return True

    def _read(self, unread: list[Tensor], epoch: int, step: int) -> None:
        """Add up and report the newest steps of all processes; the last of them is `step`."""
        stopped = float(self.interruption.number is not None)
        flags = [seen.new_full((1,), stopped) for seen in unread]
        rows = torch.stack([torch.cat(pair) for pair in zip(unread, flags, strict=True)])
        sums = self.distributed.all_reduce_sum(rows.double()).cpu()
        if self.interruption.number is None and float(sums[:, -1].sum()):
            self.interruption.number = SIGNALS[-1]  # another process was told to stop
        sums = sums[:, :-1]
        for number, seen in enumerate(sums, step - len(unread) + 1):
            if not all(math.isfinite(value) for value in seen.tolist()):
                kept = (
                    f"the checkpoint of epoch {epoch} is kept" if epoch else "no epoch was finished"
                )
                raise TrainingDiverged(
                    f"{self.job.title}: the loss is not a number at epoch {epoch + 1}, "
                    f"step {number + 1}; {kept}; {self.job.advice}"
                )
            self.report.step(**self.job.metrics(seen))
        total = sums.sum(0)
        self.position.sums = total if self.position.sums is None else self.position.sums + total

    def _save(self) -> None:
        if self.checkpoint and self.distributed.is_main:
            self.checkpoint.save({"job": self.job.state(), "position": vars(self.position)})
