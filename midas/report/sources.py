"""Numbers that say where they came from: each is shown with the file and the key that it was read from.

A number stands in the page as HTML's `data` element: its text is for people, its `value` is the one in the file, and the
attributes `data-file` and `data-key` (or `data-row` and `data-where` of a table) say where to look it up; the same is
shown on hovering. What a chart plots says the same, in the attributes of its group (`Plotted`).
"""

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from midas.runs import files

MISSING = Markup('<span class="missing">not measured here</span>')
NO_ANSWER = Markup('<span class="missing">none</span>')  # e.g. how static weights spread over images


@dataclass(frozen=True)
class Plotted:
    """Points of a chart, and the rows of a CSV file that they are.

    Args:
        points: (x, y), one a row.
        file: its name.
        columns: which columns were read, by what they are in the chart: x, y, and what was taken from y (minus).
        where: the values that the rows have in other columns; all rows where it is empty.
    """

    points: Sequence[tuple[float, float]]
    file: str
    columns: Mapping[str, str]
    where: Mapping[str, str] = field(default_factory=dict)

    def origin(self) -> tuple[Markup, str]:
        """The data- attributes that name the source, and the words that say the same on hovering."""
        where = {"where": _json(self.where)} if self.where else {}
        return _attributes(self.file, {**self.columns, **where}), _hint(self.file, {**self.columns, **self.where})


class Sources:
    """The files of a finished pipeline, read once each.

    Args:
        root: of the clone; files are named relative to it.
        revision: stands before their names where several experiments are on one page.
    """

    def __init__(self, root: Path, revision: str = "") -> None:
        self.root, self.revision = root, revision
        self._values: dict[str, Any] = {}

    def has(self, file: str) -> bool:
        """Whether the file is there."""
        return (self.root / file).is_file()

    def value(self, file: str, *keys: str | int) -> Any:
        """What stands under the keys of a JSON file; raises MidasError where the file is not there."""
        if file not in self._values:
            self._values[file] = files.read_json(self.root / file)
        found = self._values[file]
        for key in keys:
            found = found[key]
        return found

    def rows(self, file: str) -> list[dict[str, str]]:
        """The rows of a CSV file; none where the file is not there."""
        if file not in self._values:
            path = self.root / file
            self._values[file] = []
            if path.is_file():
                with path.open(encoding="utf-8", newline="") as table:  # a class's name may hold any kind of line end
                    self._values[file] = list(csv.DictReader(table))
        rows: list[dict[str, str]] = self._values[file]
        return rows

    def plotted(self, file: str, x: str, y: str, minus: str = "", **where: str) -> Plotted:
        """The points that two columns of a CSV file give, over the rows that have these values; a row without a number is none.

        Args:
            file: its name.
            x: the column of the first number.
            y: the column of the second.
            minus: a column that is taken from it.
            where: values of other columns.
        """
        points = [
            (float(row[x]), float(row[y]) - (float(row[minus]) if minus else 0.0))
            for row in self.having(file, **where)
            if row[y]  # e.g. what the architecture half says of epochs in which no architecture learns
        ]
        return Plotted(points, self._named(file), {"x": x, "y": y, **({"minus": minus} if minus else {})}, where)

    def having(self, file: str, **where: str) -> list[dict[str, str]]:
        """The rows that have these values; a file is sorted by its columns once, since charts ask for many parts of it."""
        index = f"{file}?{','.join(where)}"
        if index not in self._values:
            self._values[index] = defaultdict(list)
            for row in self.rows(file):
                self._values[index][tuple(row[column] for column in where)].append(row)
        found: list[dict[str, str]] = self._values[index].get(tuple(where.values()), [])
        return found

    def origin(self, file: str, **where: str) -> Markup:
        """The attributes of an element that shows the rows of a CSV file that have these values."""
        return _attributes(self._named(file), {"where": _json(where)})

    def number(self, file: str, *keys: str | int, form: str = "{:,}", scale: float | None = None) -> Markup:
        """A number of a JSON file; words in its place where the file is not there, or holds null.

        Args:
            file: its name.
            keys: the way to the number, e.g. ``"seeds", 0, "margin"``.
            form: how it is written; ``{:.2%}`` for shares.
            scale: what it is multiplied by before it is written, e.g. 1e-6 for bytes in MB.
        """
        if not self.has(file):
            return MISSING
        if (found := self.value(file, *keys)) is None:
            return NO_ANSWER
        pointer = "/" + "/".join(str(key).replace("~", "~0").replace("/", "~1") for key in keys)  # RFC 6901
        return self._data(found, _written(found, form, scale), file, key=pointer)

    def cell(self, file: str, row: int, column: str, form: str = "{:,}") -> Markup:
        """A number of a CSV file; rows are counted from 0."""
        found = float(self.rows(file)[row][column])
        return self._data(found, _written(found, form, None), file, key=column, row=str(row))

    def count(self, file: str, **where: str) -> Markup:
        """How many rows of a CSV file have these values."""
        found = len(self.having(file, **where))
        return self._data(found, f"{found:,}", file, where=_json(where))

    def _data(self, value: float, text: str, file: str, **where: str) -> Markup:
        """The element; `where` becomes its data- attributes and its tooltip."""
        file = self._named(file)
        whole = Markup('<data value="{}"{} title="{}">{}</data>')
        return whole.format(value, _attributes(file, where), _hint(file, where), text)

    def _named(self, file: str) -> str:
        """The file's name as the page says it."""
        return f"{self.revision}:{file}" if self.revision else file


def _attributes(file: str, where: Mapping[str, str]) -> Markup:
    entries = {"file": file, **where}
    return Markup("").join(Markup(' data-{}="{}"').format(name, entry) for name, entry in entries.items())


def _hint(file: str, where: Mapping[str, str]) -> str:
    return f"{file}: " + ", ".join(f"{name} {entry}" for name, entry in where.items())


def _json(where: Mapping[str, str]) -> str:
    return json.dumps(where, sort_keys=True, ensure_ascii=False)


def _written(value: float, form: str, scale: float | None) -> str:
    text = form.format(value if scale is None else value * scale)
    return text[:-1] + "\N{NARROW NO-BREAK SPACE}%" if text.endswith("%") else text


def footnote(*names: str) -> Markup:
    """The line below a figure or a table that names the files it was made from."""
    return Markup('<small class="from">from {}</small>').format(Markup(", ").join(_code(names)))


def _code(names: Sequence[str]) -> list[Markup]:
    return [Markup("<code>{}</code>").format(escape(name)) for name in names]
