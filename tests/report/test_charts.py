"""Charts for a page: the page's colours and font, ids of their own, the same bytes each time."""

import re
from xml.etree import ElementTree

from midas.report import charts
from midas.report.sources import Plotted

LINES = {
    f"operation {k}": Plotted(
        [(1.0, 0.1 * k), (2.0, 0.2 * k)], "weights.csv", {"x": "epoch", "y": "weight"}, {"choice": f"a < {k}"}
    )
    for k in range(10)
}


def drawn(label: str = "weights over epochs") -> str:
    return str(charts.lines(label, LINES, "epoch", "weight", title="edge 0 to 2", size=charts.PANEL))


def test_a_chart_is_an_svg_that_says_what_it_shows() -> None:
    root = ElementTree.fromstring(drawn("a < b").replace("xlink:href", "href"))
    assert root.attrib["aria-label"] == "a < b"
    assert {"epoch", "weight", "edge 0 to 2", "operation 9"} <= {"".join(t.itertext()) for t in root.iter("text")}


def test_its_colours_are_the_pages_and_its_style_stays_inside() -> None:
    text = drawn()
    assert not re.search(r"(stroke|fill): #(?!0{6})", text)
    assert {f"var(--series-{k})" for k in range(8)} <= set(re.findall(r"var\(--series-\d\)", text))
    assert "<style" not in text


def test_more_lines_than_colours_differ_by_their_dashes() -> None:
    strokes = re.findall(
        r"stroke: var\(--series-0\)[^\"]*|stroke-dasharray: [^;]*; [^\"]*var\(--series-0\)[^\"]*", drawn()
    )
    assert any("dasharray" in stroke for stroke in strokes)
    assert any("dasharray" not in stroke for stroke in strokes)


def test_two_charts_share_no_id_and_equal_ones_are_equal() -> None:
    first, second = drawn("first"), drawn("second")
    assert not set(re.findall(r' id="([^"]+)"', first)) & set(re.findall(r' id="([^"]+)"', second))
    assert set(re.findall(r'href="#([^"]+)"', first)) <= set(re.findall(r' id="([^"]+)"', first))
    assert drawn() == drawn()
