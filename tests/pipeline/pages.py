"""The report as a test reads it: its numbers, its other text, and its tags."""

import csv
import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

# Elements with names, files, code and dates, whose digits are not results.
NAMES = {"code", "pre", "svg", "time", "title", "style"}
VOID = {"meta", "link", "img", "br"}
UNITS = {"%": 0.01, "MB": 1e6, "GB": 1e9}


@dataclass
class Number:
    """A `data` element: its attributes and its text."""

    attributes: dict[str, str]
    text: str = ""


class Page(HTMLParser):
    """A parsed page.

    Attributes:
        numbers: the data elements.
        words: the text outside of data elements, names, files and dates.
        tags: the name and the attributes of each element.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.numbers: list[Number] = []
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.tags.append((tag, values))
        if tag == "data":
            self.numbers.append(Number(values))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if "data" in self._open:
            self.numbers[-1].text += data
        elif not NAMES & set(self._open):
            self.words.append(data)


def looked_up(root: Path, attributes: dict[str, str]) -> float:
    """The number in the file that a data element names, read without the report's code."""
    path = root / attributes["data-file"]
    if path.suffix == ".json":
        value: Any = json.loads(path.read_text())
        for key in attributes["data-key"].split("/")[1:]:
            key = key.replace("~1", "/").replace("~0", "~")
            value = value[int(key) if isinstance(value, list) else key]
        return float(value)
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if "data-where" in attributes:
        where = json.loads(attributes["data-where"])
        return sum(all(row[column] == value for column, value in where.items()) for row in rows)
    return float(rows[int(attributes["data-row"])][attributes["data-key"]])


def parse_number(text: str) -> tuple[float, float]:
    """The value of a text such as 99.72 % or 0.42 MB in its file's unit; half its last digit."""
    match = re.fullmatch(r"(-?[\d,]+)(\.\d+)?(e[+-]\d+)?\s*([%A-Za-z]*)", text)
    assert match, text
    whole, fraction, exponent, unit = match.groups()
    factor = float(f"1{exponent or ''}") * UNITS.get(unit, 1)
    value = float(whole.replace(",", "") + (fraction or "")) * factor
    digits = len(fraction or ".") - 1
    return value, 0.5001 * 10.0**-digits * factor
