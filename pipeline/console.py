"""What people and programs see of a stage: its progress, and one table at its end.

`MIDAS_PROGRESS` chooses the form: a live bar and tables on a terminal (``auto``), plain lines for a
log (``plain``), JSON lines for programs (``json``), or nothing (``quiet``).
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich import box, progress
from rich.console import Console
from rich.table import Table

from midas.engine.loop import Reporter
from midas.io.errors import ParamsError
from pipeline.summary_table import Fact, Summary

FORMS = ("auto", "plain", "json", "quiet")
WIDE = 200  # characters of a line in a log, which no terminal wraps


def form() -> str:
    """The form: terminal, plain, json or quiet; ParamsError for another `MIDAS_PROGRESS`."""
    name = os.environ.get("MIDAS_PROGRESS", "auto")
    if name not in FORMS:
        raise ParamsError(
            f"MIDAS_PROGRESS: {name!r} is not allowed: it is one of {', '.join(FORMS)}"
        )
    if name == "auto":
        return "terminal" if sys.stdout.isatty() else "plain"
    return name


@dataclass
class LineReporter(Reporter):
    """Prints a line for each note, with speed and time left; as text or as JSON."""

    title: str
    total: int
    done: int
    as_json: bool

    def __post_init__(self) -> None:
        self.start = time.monotonic()
        self.done_before = self.done  # in earlier runs, which say nothing of the speed

    def step(self, **values: float) -> None:
        self.done += 1

    def skip(self, count: int) -> None:
        self.done += count
        self.done_before += count

    def note(self, text: str, row: Mapping[str, Any] | None = None) -> None:
        speed = (self.done - self.done_before) / max(1e-9, time.monotonic() - self.start)
        left = (self.total - self.done) / speed if speed else 0.0
        if not self.as_json:
            steps = f"{self.done}/{self.total} steps, {speed:.1f}/s, {left:.0f} s left"
            print(f"{self.title}: {text} | {steps}", flush=True)
            return
        value: dict[str, Any] = {
            "stage": self.title,
            "text": text,
            "done": self.done,
            "total": self.total,
            "steps_per_second": round(speed, 3),
            "seconds_left": round(left, 1),
        }
        numbers = {k: v for k, v in (row or {}).items() if isinstance(v, int | float)}
        print(json.dumps(value | numbers, ensure_ascii=False), flush=True)


class BarReporter(Reporter):
    """A live bar on a terminal, with notes above it and the values of the step beside it."""

    def __init__(self, title: str, total: int, done: int, bar: progress.Progress) -> None:
        self.bar = bar
        self.task = bar.add_task(title, total=total, completed=done, values="")

    def step(self, **values: float) -> None:
        text = " ".join(f"{name} {value:.3f}" for name, value in values.items())
        self.bar.update(self.task, advance=1, values=text)

    def skip(self, count: int) -> None:
        self.bar.update(self.task, advance=count)

    def note(self, text: str, row: Mapping[str, Any] | None = None) -> None:
        self.bar.console.print(text, highlight=False, markup=False)


@contextmanager
def show_progress(title: str, total: int, done: int) -> Iterator[Reporter]:
    """Show the progress of `total` steps, of which an earlier run made `done`."""
    chosen = form()
    if chosen == "quiet":
        yield Reporter()
    elif chosen == "terminal":
        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.speed:.1f}/s" if total else ""),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[values]}"),
        )
        with progress.Progress(*columns, console=Console()) as bar:
            yield BarReporter(title, total, done, bar)
    else:
        yield LineReporter(title, total, done, as_json=chosen == "json")


def show(summary: Summary, always: bool = False) -> None:
    """Show what came out of a stage; with `always` in the form `quiet` too."""
    chosen = form()
    columns = summary.columns
    if chosen == "json":
        values = {
            name: {k: v.value if isinstance(v, Fact) else v for k, v in facts.items()}
            for name, facts in columns.items()
        }
        line = {"stage": summary.title, "summary": values, "wrote": str(summary.wrote)}
        print(json.dumps(line, ensure_ascii=False), flush=True)
    elif chosen == "terminal":
        console = Console(highlight=False, markup=False, emoji=False)
        console.print(_table(summary, box.SIMPLE_HEAD))
        console.print(f"  written to {summary.wrote}", soft_wrap=True)
    elif always or chosen == "plain":
        console = Console(width=WIDE, color_system=None, highlight=False, markup=False, emoji=False)
        with console.capture() as captured:
            console.print(_table(summary, None))
        lines = [line.rstrip() for line in captured.get().splitlines()]
        print(*lines, f"written to {summary.wrote}", sep="\n", flush=True)


def _table(summary: Summary, lines: box.Box | None) -> Table:
    table = Table(box=lines, pad_edge=lines is not None)
    table.add_column(summary.title, style="dim" if lines else "")
    for name in summary.columns:
        table.add_column(name)
    columns = summary.columns.values()
    for fact in dict.fromkeys(key for facts in columns for key in facts):
        table.add_row(fact, *(_text(facts.get(fact)) for facts in columns))
    return table


def _text(fact: Fact | int | str | None) -> str:
    if isinstance(fact, Fact):
        return f"{fact.value:{fact.spec}}{fact.unit}"
    return f"{fact:,}" if isinstance(fact, int) else fact or ""
