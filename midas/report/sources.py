"""Numbers that say where they came from: each is shown with the file and the key that it was read from.

A number stands in the page as HTML's `data` element: its text is for people, its `value` is the one in the file, and the
attributes `data-file` and `data-key` (or `data-row` and `data-where` of a table) say where to look it up; the same is
shown on hovering.
"""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from midas.runs import files

MISSING = Markup('<span class="missing">not measured here</span>')
NO_ANSWER = Markup('<span class="missing">none</span>')  # e.g. how static weights spread over images


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
        found = sum(all(row[column] == value for column, value in where.items()) for row in self.rows(file))
        return self._data(found, f"{found:,}", file, where=json.dumps(where, sort_keys=True, ensure_ascii=False))

    def _data(self, value: float, text: str, file: str, **where: str) -> Markup:
        """The element; `where` becomes its data- attributes and its tooltip."""
        file = f"{self.revision}:{file}" if self.revision else file
        attributes = Markup("").join(Markup(' data-{}="{}"').format(name, entry) for name, entry in where.items())
        hint = f"{file}: " + ", ".join(f"{name} {entry}" for name, entry in where.items())
        whole = Markup('<data value="{}" data-file="{}"{} title="{}">{}</data>')
        return whole.format(value, file, attributes, hint, text)


def _written(value: float, form: str, scale: float | None) -> str:
    text = form.format(value if scale is None else value * scale)
    return text[:-1] + "\N{NARROW NO-BREAK SPACE}%" if text.endswith("%") else text


def footnote(*names: str) -> Markup:
    """The line below a figure or a table that names the files it was made from."""
    return Markup('<small class="from">from {}</small>').format(Markup(", ").join(_code(names)))


def _code(names: Sequence[str]) -> list[Markup]:
    return [Markup("<code>{}</code>").format(escape(name)) for name in names]
