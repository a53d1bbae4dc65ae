"""The report of a finished pipeline: it has the files' numbers, stands alone, and fits a phone."""

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from browsing import browser, visit
from clones import run
from pages import Page, looked_up, parse_number
from plotted import charts_of, expected, patch_maps_of, rows_of

from midas.drawing.svg import draw_svg
from midas.genotype import load_genotype
from midas.io import files
from pipeline.report.page import render_report

pytestmark = pytest.mark.xdist_group("clone")
SECTIONS = (
    "pipeline",
    "cells",
    "seeds",
    "indicators",
    "weights",
    "patches",
    "samples",
    "target-1",
    "provenance",
)


@pytest.fixture(scope="module")
def report(finished: Path) -> Path:
    """The page of `dvc repro`, written again with the latency.

    Other tests bring the model back from the cache, and then its latency is missing.
    """
    page = finished / "report/index.html"
    assert page.is_file(), "dvc repro writes it"
    run(finished, "midas", "summary")  # measures the latency where it is missing
    run(finished, "midas", "report")
    return page


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page(report.read_text(encoding="utf-8"))


def test_dvc_repro_leaves_a_small_page_with_every_section(report: Path, page: Page) -> None:
    assert report.stat().st_size < 5e6
    assert [a["id"] for tag, a in page.tags if tag == "section"] == list(SECTIONS)
    assert sum(a.get("class") == "chart" for tag, a in page.tags if tag == "svg") > 40


def test_every_number_is_the_one_under_the_file_and_the_key_that_it_names(
    finished: Path, page: Page
) -> None:
    assert len(page.numbers) > 60
    for number in page.numbers:
        value = looked_up(finished, number.attributes)
        assert float(number.attributes["value"]) == value, number
        shown, half_digit = parse_number(number.text)
        assert shown == pytest.approx(value, abs=half_digit), number
        assert number.attributes["data-file"] in number.attributes["title"]


def test_no_number_stands_outside_an_element_that_names_its_source(page: Page) -> None:
    assert [text for text in page.words if re.search(r"\d", text)] == []


def test_every_point_of_a_chart_is_the_one_in_the_file_and_the_columns_that_it_names(
    finished: Path, report: Path
) -> None:
    charts = charts_of(report.read_text(encoding="utf-8"))
    assert len(charts) > 20
    for chart in charts:
        assert chart.series, chart.label
        assert chart.unnamed == 0, chart.label
        for attributes, points in chart.series:
            values = expected(finished, attributes)
            assert points == [pytest.approx(point, rel=1e-4, abs=1e-6) for point in values], (
                chart.label,
                attributes,
            )


def test_every_patch_is_the_one_in_the_file_and_has_the_colour_of_the_legend(
    finished: Path, report: Path
) -> None:
    text = report.read_text(encoding="utf-8")
    colours = dict(re.findall(r'--colour: (var\(--series-\d\))"></i><code>(\w+)</code>', text))
    maps = patch_maps_of(text)
    assert len(maps) > 20
    for drawn in maps:
        rows = rows_of(finished, dict(drawn.attrib))
        side = 1 + max(int(row["row"]) for row in rows)
        shown = {
            (round(float(r.attrib["y"]) * side / 96), round(float(r.attrib["x"]) * side / 96)): (
                colours[r.attrib["fill"]],
                r.findtext("title"),
            )
            for r in drawn.iter("rect")
        }
        assert shown == {
            (int(r["row"]), int(r["column"])): (
                r["operation"],
                f"{r['operation']} {float(r['weight']):.3f}",
            )
            for r in rows
        }
        for operation, count in re.findall(r"(\w+) in (\d+)", drawn.attrib["aria-label"]):
            assert int(count) == sum(row["operation"] == operation for row in rows)


def test_every_file_named_below_a_figure_exists(finished: Path, report: Path) -> None:
    named = re.findall(r'class="from">from (.*?)</small>', report.read_text())
    for name in {name for line in named for name in re.findall(r"<code>(.*?)</code>", line)}:
        assert list(finished.glob(name)), name


def test_the_parameters_are_shown_as_they_are(finished: Path, report: Path) -> None:
    shown = re.search(
        r'<pre [^>]*data-file="params.yaml">(.*?)</pre>', report.read_text(), re.DOTALL
    )
    assert shown
    assert (
        shown[1].replace("&#39;", "'").replace("&gt;", ">")
        == (finished / "params.yaml").read_text()
    )


def test_the_page_loads_nothing_and_runs_nothing(page: Page) -> None:
    addresses = [a[key] for _, a in page.tags for key in ("src", "href", "xlink:href") if key in a]
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "script" not in {tag for tag, _ in page.tags}
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_the_kept_cells_are_drawn_beside_the_page(finished: Path, report: Path) -> None:
    genotype = load_genotype(finished / "artifacts/genotype/genotype.json")
    assert (report.parent / "cells.svg").read_text(encoding="utf-8") == draw_svg(genotype)


def made_here(path: Path) -> int:
    """The number of stages that the page marks as run on this machine."""
    return sum(a.get("class") == "here" for _, a in Page(path.read_text()).tags)


def test_only_stages_whose_files_were_made_here_show_a_time(finished: Path, report: Path) -> None:
    assert made_here(report) == 10
    record = finished / "artifacts/cost/search@0.json"
    original = record.read_text()
    try:
        value = json.loads(original)
        value["outs"]["artifacts/search/seed-0/history.csv"] = "0" * 32
        record.write_text(json.dumps(value))
        run(finished, "midas", "report", "-o", "other.html")
        assert made_here(finished / "other.html") == 9
    finally:
        record.write_text(original)
        (finished / "other.html").unlink(missing_ok=True)


def copied(finished: Path, folder: Path) -> Path:
    """A copy of the files that the report reads, for tests that change them."""
    shutil.copytree(finished / "artifacts", folder / "artifacts")
    shutil.copytree(finished / "models", folder / "models")
    shutil.copy(finished / "params.yaml", folder)
    return folder


def rendered(root: Path) -> str:
    """The page about a copy, without runs of stages."""
    return render_report(root, yaml.safe_load((root / "params.yaml").read_text()), [])


def test_a_hostile_class_name_is_text(finished: Path, tmp_path: Path) -> None:
    root = copied(finished, tmp_path)
    evil = "<script>alert('x')</script>\"><b>"
    meta = files.read_json(root / "artifacts/data/meta.json")
    old = meta["classes"][0]
    meta["classes"][0] = evil
    files.write_json(root / "artifacts/data/meta.json", meta)
    table = root / "artifacts/evaluate/mine/predictions.csv"
    rows = list(csv.DictReader(table.read_text().splitlines()))
    files.write_csv(table, [{k: evil if v == old else v for k, v in row.items()} for row in rows])
    page = Page(rendered(root))
    assert {"script", "b"} & {tag for tag, _ in page.tags} == {"b"}, "the tiles have b elements"
    assert sum(tag == "b" for tag, _ in page.tags) == sum(
        a.get("class") == "tile" for _, a in page.tags
    )
    counts = [
        n for n in page.numbers if evil in json.loads(n.attributes.get("data-where", "{}")).values()
    ]
    assert sum(looked_up(root, n.attributes) for n in counts) > 0


def test_the_page_says_what_was_not_measured_on_this_machine(
    finished: Path, tmp_path: Path
) -> None:
    root = copied(finished, tmp_path)
    (root / "models/mine/latency.json").unlink()
    for path in root.glob("artifacts/train/mine/seed-*/cost.json"):
        path.unlink()
    assert rendered(root).count("not measured here") == 2


def test_the_time_of_another_training_is_not_shown(finished: Path, tmp_path: Path) -> None:
    root = copied(finished, tmp_path)
    assert "per epoch</td>" in rendered(root)
    for path in root.glob("artifacts/train/mine/seed-*/last.safetensors"):
        path.chmod(0o644)
        path.write_bytes(b"as if it came from the cache")
    assert "per epoch</td>" not in rendered(root)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


SCREENS = [(1280, "light"), (390, "dark")]
MORE_SCREENS = [
    pytest.param(*screen, marks=pytest.mark.slow) for screen in ((1280, "dark"), (390, "light"))
]


@pytest.mark.parametrize(("width", "scheme"), [*SCREENS, *MORE_SCREENS])
def test_a_page_fits_its_screen_without_errors_requests_or_accessibility_violations(
    report: Path, chromium: Any, width: int, scheme: str
) -> None:
    seen = visit(chromium, report, width, scheme)
    assert seen.width == width, "no sideways scrolling"
    assert seen.height > 1000
    assert (seen.console, seen.requests) == ([], [])
    assert seen.severe_violations() == []


def test_errors_requests_and_violations_of_a_bad_page_are_reported(
    chromium: Any, tmp_path: Path
) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        "<!doctype html><html lang=en><title>bad</title><main><h1>bad</h1>"
        "<p style='color: #ccc'>pale</p><div style='width: 2000px'>wide</div>"
        "<img alt=x src='http://127.0.0.1:9/x.png'></main>",
        encoding="utf-8",
    )
    seen = visit(chromium, page, 390, "light")
    assert seen.width > 390
    assert seen.requests == ["http://127.0.0.1:9/x.png"]
    assert "net::ERR_" in seen.console[0]
    assert "color-contrast" in seen.severe_violations()
