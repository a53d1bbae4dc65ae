"""Numbers with their origin: each one on the page names the file and the key it was read from.

A number is an HTML `data` element, whose attributes and tooltip say where to look it up.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from midas.io import files

MISSING = Markup('<span class="missing">not measured here</span>')
NULL = Markup('<span class="missing">none</span>')  # e.g. the spread over images of static weights
Row = dict[str, str]


class Series(NamedTuple):
    """Points of a chart, and the rows of the CSV file that they were read from."""

    points: Sequence[tuple[float, float]]  # (x, y), one per row
    attributes: Markup  # the `data-` attributes that name file, columns and rows
    tooltip: str  # the same for people


class Sources:
    """The files under `root`, each read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._values: dict[str, Any] = {}
        self._rows: dict[tuple[str, ...], dict[tuple[str, ...], list[Row]]] = {}

    def has(self, file: str) -> bool:
        """Whether the file exists."""
        return (self.root / file).is_file()

    def value(self, file: str, *keys: str | int) -> Any:
        """The value under the keys of a JSON file; raises MidasError if the file does not exist."""
        if file not in self._values:
            self._values[file] = files.read_json(self.root / file)
        value = self._values[file]
        for key in keys:
            value = value[key]
        return value

    def rows(self, file: str, **where: str) -> list[Row]:
        """The rows of a CSV file that have these values; none if the file does not exist."""
        index = (file, *where)  # charts ask for many parts of a file: group it once
        if index not in self._rows:
            self._rows[index] = defaultdict(list)
            for row in self.rows(file) if where else self._read_csv(file):
                self._rows[index][tuple(row[column] for column in where)].append(row)
        return self._rows[index].get(tuple(where.values()), [])

    def _read_csv(self, file: str) -> list[Row]:
        if not self.has(file):
            return []
        # newline="", since the name of a class may contain any kind of line end
        with (self.root / file).open(encoding="utf-8", newline="") as table:
            return list(csv.DictReader(table))

    def series(self, file: str, x: str, y: str, minus: str = "", **where: str) -> Series:
        """The columns `x` and `y`, less `minus`, of the rows with these values and with a y."""
        points = [
            (float(row[x]), float(row[y]) - (float(row[minus]) if minus else 0.0))
            for row in self.rows(file, **where)
            if row[y]
        ]
        columns = {"x": x, "y": y} | ({"minus": minus} if minus else {})
        place = columns | ({"where": _json(where)} if where else {})
        return Series(points, _attributes(file, place), _tooltip(file, columns | where))

    def origin(self, file: str, **where: str) -> Markup:
        """The attributes of an element that shows the rows of a CSV file with these values."""
        return _attributes(file, {"where": _json(where)})

    def number(self, file: str, *keys: str | int, form: str = "{:,}", scale: float = 1) -> Markup:
        """A number of a JSON file by its keys, times `scale`, or a phrase where there is none."""
        if not self.has(file):
            return MISSING
        value = self.value(file, *keys)
        if value is None:
            return NULL
        escaped = [str(key).replace("~", "~0").replace("/", "~1") for key in keys]
        pointer = "/" + "/".join(escaped)  # a JSON pointer, RFC 6901
        return self._data(file, value, form, scale, key=pointer)

    def cell(self, file: str, row: int, column: str, form: str = "{:,}") -> Markup:
        """A number of a CSV file; rows count from 0."""
        return self._data(file, float(self.rows(file)[row][column]), form, key=column, row=str(row))

    def count(self, file: str, **where: str) -> Markup:
        """The number of rows of a CSV file that have these values."""
        return self._data(file, len(self.rows(file, **where)), "{:,}", where=_json(where))

    def _data(self, file: str, value: float, form: str, scale: float = 1, **place: str) -> Markup:
        text = form.format(value * scale)
        if text.endswith("%"):
            text = text[:-1] + "\N{NARROW NO-BREAK SPACE}%"
        element = Markup('<data value="{}"{} title="{}">{}</data>')
        return element.format(value, _attributes(file, place), _tooltip(file, place), text)


def _attributes(file: str, place: Mapping[str, str]) -> Markup:
    attribute = Markup(' data-{}="{}"')
    return Markup("").join(attribute.format(*item) for item in {"file": file, **place}.items())


def _tooltip(file: str, place: Mapping[str, str]) -> str:
    return f"{file}: " + ", ".join(f"{name} {value}" for name, value in place.items())


def _json(where: Mapping[str, str]) -> str:
    return json.dumps(where, sort_keys=True, ensure_ascii=False)
