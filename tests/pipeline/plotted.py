"""Reading charts as a person with a ruler would: points by the labels of the axes, without any code of the report."""

import csv
import html
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

Points = list[tuple[float, float]]


@dataclass
class Chart:
    """A chart of the page: its label, and for each thing that is plotted the named source and the points in units of the axes."""

    label: str
    series: list[tuple[dict[str, str], Points]] = field(default_factory=list)
    unnamed: int = 0  # coloured lines in the plot that name no source


def charts_of(page: str) -> list[Chart]:
    return [_read(ElementTree.fromstring(text.replace("xlink:href", "href"))) for text in _elements(page, "chart")]


def patch_maps_of(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(text) for text in _elements(page, "pixels")]


def rows_of(root: Path, attributes: dict[str, str]) -> list[dict[str, str]]:
    """The rows of the file that an element names."""
    with (root / attributes["data-file"]).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    where = json.loads(attributes.get("data-where", "{}"))
    return [row for row in rows if all(row[column] == value for column, value in where.items())]


def expected(root: Path, attributes: dict[str, str]) -> Points:
    """The points that the named columns give."""
    minus, points = attributes.get("data-minus"), []
    for row in rows_of(root, attributes):
        if not row[attributes["data-y"]]:
            continue  # not measured in that epoch
        y = float(row[attributes["data-y"]]) - (float(row[minus]) if minus else 0.0)
        points.append((float(row[attributes["data-x"]]), y))
    return points


def _elements(page: str, kind: str) -> list[str]:
    return re.findall(rf'<svg class="{kind}".*?</svg>', page, re.DOTALL)


def _read(svg: ElementTree.Element) -> Chart:
    axes = [_scale(svg, k) for k in (0, 1)]
    chart = Chart(svg.attrib["aria-label"])
    named = [group for group in svg.iter("g") if "data-file" in group.attrib]
    inside = {id(path) for group in named for path in group.iter("path")}
    for group in named:
        (path,) = group.iter("path")
        numbers = [[float(n) for n in pair] for pair in re.findall(r"[ML] (\S+) (\S+)", path.attrib["d"])]
        points = [(axes[0](x), axes[1](y)) for x, y in numbers]
        chart.series.append(({key: html.unescape(value) for key, value in group.attrib.items()}, points))
    chart.unnamed = sum(
        "clip-path" in p.attrib and "--series" in p.attrib["style"] and id(p) not in inside for p in svg.iter("path")
    )
    return chart


def _scale(svg: ElementTree.Element, axis: int):
    """From a coordinate to the number on that axis (0: horizontal, 1: vertical), by its first and last labelled tick."""
    marks = {  # a tick's mark goes down from the horizontal axis, and left from the vertical one
        path.attrib["id"]: " ".join(path.attrib["d"].split()) for path in svg.iter("path") if "id" in path.attrib
    }
    ticks = []
    for group in svg.iter("g"):
        uses, texts = list(group.iter("use")), list(group.iter("text"))
        if len(uses) == len(texts) == 1:
            mark = marks[uses[0].attrib["href"].removeprefix("#")]
            if mark == ("M 0 0 L 0 3.5", "M 0 0 L -3.5 0")[axis]:
                label = float((texts[0].text or "").replace("\N{MINUS SIGN}", "-"))
                ticks.append((float(uses[0].attrib["xy"[axis]]), label))
    (first, low), (last, high) = ticks[0], ticks[-1]
    assert first != last, "an axis has two labels at least"
    return lambda at: low + (at - first) * (high - low) / (last - first)
