"""Charts as a person with a ruler reads them, without the report's code.

Points are measured by the labels of the axes.
"""

import csv
import html
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

Points = list[tuple[float, float]]
# A tick's mark goes down from the horizontal axis, and left from the vertical axis.
TICKS = ("M 0 0 L 0 3.5", "M 0 0 L -3.5 0")


@dataclass
class Chart:
    """A chart of the page.

    Attributes:
        label: its description.
        series: for each series the attributes that name the source, and its points in units of
            the axes.
        unnamed: the number of coloured lines that name no source.
    """

    label: str
    series: list[tuple[dict[str, str], Points]] = field(default_factory=list)
    unnamed: int = 0


def charts_of(page: str) -> list[Chart]:
    """All charts of a page."""
    return [
        _read(ElementTree.fromstring(text.replace("xlink:href", "href")))
        for text in _elements(page, "chart")
    ]


def patch_maps_of(page: str) -> list[ElementTree.Element]:
    """All maps of patches of a page."""
    return [ElementTree.fromstring(text) for text in _elements(page, "pixels")]


def rows_of(root: Path, attributes: dict[str, str]) -> list[dict[str, str]]:
    """The rows of the file that an element names."""
    with (root / attributes["data-file"]).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    where = json.loads(attributes.get("data-where", "{}"))
    return [row for row in rows if all(row[column] == value for column, value in where.items())]


def expected(root: Path, attributes: dict[str, str]) -> Points:
    """The points in the columns that an element names."""
    minus = attributes.get("data-minus")
    points = []
    for row in rows_of(root, attributes):
        if not row[attributes["data-y"]]:
            continue  # not measured in this epoch
        y = float(row[attributes["data-y"]]) - (float(row[minus]) if minus else 0.0)
        points.append((float(row[attributes["data-x"]]), y))
    return points


def _elements(page: str, kind: str) -> list[str]:
    return re.findall(rf'<svg class="{kind}".*?</svg>', page, re.DOTALL)


def _read(svg: ElementTree.Element) -> Chart:
    axes = [_scale(svg, axis) for axis in (0, 1)]
    chart = Chart(svg.attrib["aria-label"])
    named = [group for group in svg.iter("g") if "data-file" in group.attrib]
    inside = {id(path) for group in named for path in group.iter("path")}
    for group in named:
        (path,) = group.iter("path")
        numbers = [
            [float(n) for n in pair] for pair in re.findall(r"[ML] (\S+) (\S+)", path.attrib["d"])
        ]
        points = [(axes[0](x), axes[1](y)) for x, y in numbers]
        attributes = {key: html.unescape(value) for key, value in group.attrib.items()}
        chart.series.append((attributes, points))
    chart.unnamed = sum(
        "clip-path" in path.attrib and "--series" in path.attrib["style"] and id(path) not in inside
        for path in svg.iter("path")
    )
    return chart


def _scale(svg: ElementTree.Element, axis: int) -> Callable[[float], float]:
    """From a coordinate to the number on an axis (0: horizontal), by its first and last tick."""
    marks = {
        path.attrib["id"]: " ".join(path.attrib["d"].split())
        for path in svg.iter("path")
        if "id" in path.attrib
    }
    ticks = []
    for group in svg.iter("g"):
        uses = list(group.iter("use"))
        texts = list(group.iter("text"))
        if len(uses) != 1 or len(texts) != 1:
            continue
        if marks[uses[0].attrib["href"].removeprefix("#")] == TICKS[axis]:
            label = float((texts[0].text or "").replace("\N{MINUS SIGN}", "-"))
            ticks.append((float(uses[0].attrib["xy"[axis]]), label))
    first, low = ticks[0]
    last, high = ticks[-1]
    assert first != last, "an axis has two labels at least"
    return lambda at: low + (at - first) * (high - low) / (last - first)
