"""Progress for people: one live line on a terminal, plain lines in a log.

A bar is only drawn on a terminal. In a log (a file, CI, DVC's captured output) one line is printed per call of `note`,
so that what a person reads later is the epochs, not the frames of an animation.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Reporter:
    """Steps counted, notes printed. Made by `progress`."""

    def __init__(self, title: str, total: int, done: int, bar: Progress | None, quiet: bool = False) -> None:
        self._title, self._total, self._done, self._bar = title, total, done, bar
        self._quiet = quiet
        self._start, self._first = time.monotonic(), done
        self._task = bar.add_task(title, total=total, completed=done, values="") if bar else None

    def step(self, **values: float) -> None:
        """One step is done; `values` (loss, accuracy) stand beside the bar."""
        self._done += 1
        if self._bar and self._task is not None:
            text = " ".join(f"{name} {value:.3f}" for name, value in values.items())
            self._bar.update(self._task, advance=1, values=text)

    def note(self, text: str) -> None:
        """Print a line that stays, with the time left in a log."""
        if self._bar:
            self._bar.console.print(text, highlight=False)
            return
        if self._quiet:
            return
        per_step = (time.monotonic() - self._start) / max(1, self._done - self._first)
        left = per_step * (self._total - self._done)
        print(f"{self._title}: {text} | {self._done}/{self._total} steps, {left:.0f} s left", flush=True)


@contextmanager
def progress(title: str, total: int, done: int = 0, quiet: bool = False) -> Iterator[Reporter]:
    """Show the progress of `total` steps of which `done` were made by an earlier run; nothing where `quiet`."""
    if quiet or not sys.stdout.isatty():
        yield Reporter(title, total, done, None, quiet)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}"),
    )
    with Progress(*columns, console=Console()) as bar:
        yield Reporter(title, total, done, bar)
