"""What a stage says when it has ended: a table on a terminal, the same in plain text in a log, one JSON object, or nothing.

The form is that of the progress (`midas.runs.progress.form`), so that one variable sets both.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from midas.runs.progress import form

WIDE = 200  # characters of a line in a log, which no terminal wraps


class Fact(NamedTuple):
    """A number, how people read it (a format such as ``.2%``), and what stands behind it, e.g. its unit."""

    value: float
    spec: str = ","
    unit: str = ""


Facts = Mapping[str, Fact | int | str | None]


def summarise(title: str, columns: Mapping[str, Facts], wrote: Path, always: bool = False) -> None:
    """Show what came out of a stage.

    Args:
        title: of the stage, e.g. ``search``.
        columns: by the name of a seed or a target, what is to be said of it; a fact that a column lacks leaves a gap.
        wrote: where the files are.
        always: people asked for this very table, so `quiet` does not hide it.

    Raises:
        ParamsError: `MIDAS_PROGRESS` asks for a form that there is not.
    """
    shown = form()
    if shown == "json":
        values = {name: {key: _value(fact) for key, fact in facts.items()} for name, facts in columns.items()}
        print(json.dumps({"stage": title, "summary": values, "wrote": str(wrote)}, ensure_ascii=False), flush=True)
    elif shown == "terminal":
        console = Console(highlight=False, markup=False, emoji=False)
        console.print(_table(title, columns, box.SIMPLE_HEAD), f"  written to {wrote}", sep="", soft_wrap=True)
    elif always or shown == "plain":
        console = Console(width=WIDE, color_system=None, highlight=False, markup=False, emoji=False)
        with console.capture() as captured:
            console.print(_table(title, columns, None))
        print(*(line.rstrip() for line in captured.get().splitlines()), f"written to {wrote}", sep="\n", flush=True)


def _table(title: str, columns: Mapping[str, Facts], lines: box.Box | None) -> Table:
    """A row for each fact, a column for each seed or target."""
    table = Table(box=lines, pad_edge=lines is not None)
    table.add_column(title, style="dim" if lines else "")
    for name in columns:
        table.add_column(name)
    for fact in dict.fromkeys(key for facts in columns.values() for key in facts):
        table.add_row(fact, *(_text(facts.get(fact)) for facts in columns.values()))
    return table


def _value(fact: Fact | int | str | None) -> float | str | None:
    return fact.value if isinstance(fact, Fact) else fact


def _text(fact: Fact | int | str | None) -> str:
    """As people read it."""
    if isinstance(fact, Fact):
        return f"{fact.value:{fact.spec}}{fact.unit}"
    return f"{fact:,}" if isinstance(fact, int) else fact or ""
