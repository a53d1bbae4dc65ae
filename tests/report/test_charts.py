"""Charts for a page: they have its colours and font, unique ids, and the same bytes each time."""

import re
from xml.etree import ElementTree

from markupsafe import Markup

from pipeline.report import charts
from pipeline.report.values import Series

LINES = {
    f"operation {k}": Series(
        [(1.0, 0.1 * k), (2.0, 0.2 * k)], Markup(' data-file="{}"').format(f"a < {k}"), f"a < {k}"
    )
    for k in range(10)
}


def draw(label: str = "weights over epochs") -> str:
    return str(charts.lines(label, LINES, "weight", title="edge 0 to 2"))


def test_a_chart_is_an_svg_that_says_what_it_shows() -> None:
    root = ElementTree.fromstring(draw("a < b").replace("xlink:href", "href"))
    assert root.attrib["aria-label"] == "a < b"
    texts = {"".join(text.itertext()) for text in root.iter("text")}
    assert {"epoch", "weight", "edge 0 to 2", "operation 9"} <= texts


def test_a_chart_names_the_source_of_each_series() -> None:
    root = ElementTree.fromstring(draw().replace("xlink:href", "href"))
    groups = [group for group in root.iter("g") if "data-file" in group.attrib]
    assert [group.attrib["data-file"] for group in groups] == [f"a < {k}" for k in range(10)]


def test_colours_are_the_pages_and_no_style_sheet_reaches_it() -> None:
    text = draw()
    assert not re.search(r"(stroke|fill): #(?!0{6})", text)
    assert {f"var(--series-{k})" for k in range(8)} <= set(re.findall(r"var\(--series-\d\)", text))
    assert "<style" not in text


def test_more_lines_than_colours_differ_by_their_dashes() -> None:
    strokes = re.findall(
        r"stroke: var\(--series-0\)[^\"]*|stroke-dasharray: [^;]*; [^\"]*var\(--series-0\)[^\"]*",
        draw(),
    )
    assert any("dasharray" in stroke for stroke in strokes)
    assert any("dasharray" not in stroke for stroke in strokes)


def test_two_charts_share_no_id_and_equal_charts_have_equal_bytes() -> None:
    first = draw("first")
    second = draw("second")
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in (first, second)]
    assert not ids[0] & ids[1]
    assert set(re.findall(r'href="#([^"]+)"', first)) <= ids[0]
    assert draw() == draw()
