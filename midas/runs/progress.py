"""Progress for people and for programs: a live line on a terminal, plain lines in a log, JSON lines, or silence.

A bar is only drawn on a terminal. In a log (a file, CI, DVC's captured output) one line is printed per call of `note`,
so that what a person reads later is the epochs, not the frames of an animation. The environment variable
`MIDAS_PROGRESS` asks for another form; it also reaches the stages that `dvc repro` runs.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from midas.runs.errors import ParamsError

MODES = ("auto", "plain", "json", "quiet")


def form() -> str:
    """How a stage speaks: terminal, plain, json or quiet.

    Raises:
        ParamsError: `MIDAS_PROGRESS` is set to something else than one of `MODES`.
    """
    mode = os.environ.get("MIDAS_PROGRESS", "auto")
    if mode not in MODES:
        raise ParamsError(f"MIDAS_PROGRESS: {mode!r} is not allowed: it is one of {', '.join(MODES)}")
    if mode == "auto":
        return "terminal" if sys.stdout.isatty() else "plain"
    return mode


class SpeedColumn(ProgressColumn):
    """Steps a second over the last half minute."""

    def render(self, task: Task) -> Text:
        """Empty until there is something to measure."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


class Reporter:
    """Steps counted, notes printed. Made by `progress`."""

    def __init__(self, title: str, total: int, done: int, mode: str, bar: Progress | None) -> None:
        self._title, self._total, self._done, self._mode, self._bar = title, total, done, mode, bar
        self._start, self._first, self._best = time.monotonic(), done, float("-inf")
        self._task = bar.add_task(title, total=total, completed=done, values="", stays="") if bar else None

    def step(self, **values: float) -> None:
        """One step is done; `values` (loss, accuracy) stand beside the bar."""
        self._done += 1
        if self._bar and self._task is not None:
            text = " ".join(f"{name} {value:.3f}" for name, value in values.items())
            self._bar.update(self._task, advance=1, values=text)

    def skip(self, count: int) -> None:
        """So many steps needed no work: they are done, and say nothing of the speed."""
        self._done += count
        self._first += count
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=self._done)

    def note(self, text: str, row: Mapping[str, Any] | None = None, judge: str = "") -> None:
        """Say something that stays: a line, with speed and time left in a log.

        Args:
            text: for people.
            row: the numbers of an epoch, for programs; a terminal keeps its `skips` beside the bar.
            judge: which number of the row is the better the larger; the best so far stays beside the bar.
        """
        row = row or {}
        if judge in row:
            self._best = max(self._best, row[judge])
        if self._bar and self._task is not None:
            best = f"best {self._best:.3f} " if judge in row else ""
            self._bar.update(self._task, stays=best + (f"skips {row['skips']}" if "skips" in row else ""))
            self._bar.console.print(text, highlight=False, markup=False)
        elif self._mode == "json":
            print(json.dumps(self._json(text, row, judge), ensure_ascii=False), flush=True)
        elif self._mode != "quiet":
            speed, left = self._pace()
            counted = f"{self._done}/{self._total} steps, {speed:.1f}/s, {left:.0f} s left"
            print(f"{self._title}: {text} | {counted}", flush=True)

    def _pace(self) -> tuple[float, float]:
        """Steps a second since this run began, and the seconds that are left at that speed."""
        speed = (self._done - self._first) / max(1e-9, time.monotonic() - self._start)
        return speed, (self._total - self._done) / speed if speed else 0.0

    def _json(self, text: str, row: Mapping[str, Any], judge: str) -> dict[str, Any]:
        speed, left = self._pace()
        numbers = {name: value for name, value in row.items() if isinstance(value, int | float)}
        best = {"best": self._best} if judge in row else {}
        steps = {"done": self._done, "total": self._total, "steps_per_second": round(speed, 3)}
        return {"stage": self._title, "text": text, **steps, "seconds_left": round(left, 1), **best, **numbers}


@contextmanager
def progress(title: str, total: int, done: int = 0, quiet: bool = False) -> Iterator[Reporter]:
    """Show the progress of `total` steps of which `done` were made by an earlier run; nothing where `quiet`.

    Raises:
        ParamsError: as `form`.
    """
    mode = "quiet" if quiet else form()
    if mode != "terminal":
        yield Reporter(title, total, done, mode, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        SpeedColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}"),
        TextColumn("{task.fields[stays]}"),
    )
    with Progress(*columns, console=Console()) as bar:
        yield Reporter(title, total, done, mode, bar)
