"""The report of a finished pipeline: its numbers are those of the files, it needs nothing else, and it fits a phone."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from clones import IDENTITY, run
from pages import Page, as_read, has_browser, looked_up, width_in_browser

from midas.report.page import render_report
from midas.runs import files

pytestmark = pytest.mark.xdist_group("clone")
SECTIONS = ("pipeline", "cells", "seeds", "indicators", "weights", "patches", "samples", "target-1", "provenance")


@pytest.fixture(scope="module")
def report(finished: Path) -> Path:
    """The page that `dvc repro` left, written again: other tests bring the model back from the cache, without its latency."""
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


def test_every_number_is_the_one_in_the_file_and_under_the_key_that_it_names(finished: Path, page: Page) -> None:
    assert len(page.numbers) > 60
    for number in page.numbers:
        value = looked_up(finished, number.attributes)
        assert float(number.attributes["value"]) == value, number
        read, half = as_read(number.text)
        assert read == pytest.approx(value, abs=half), number
        assert number.attributes["data-file"] in number.attributes["title"]


def test_no_number_stands_outside_an_element_that_names_its_source(page: Page) -> None:
    assert [text for text in page.words if re.search(r"\d", text)] == []


def test_every_file_named_below_a_figure_exists(finished: Path, report: Path) -> None:
    named = re.findall(r'class="from">from (.*?)</small>', report.read_text())
    for name in {name for line in named for name in re.findall(r"<code>(.*?)</code>", line)}:
        assert list(finished.glob(name)), name


def test_the_parameters_are_shown_as_they_are(finished: Path, report: Path) -> None:
    shown = re.search(r'<pre [^>]*data-file="params.yaml">(.*?)</pre>', report.read_text(), re.DOTALL)
    assert shown
    assert shown[1].replace("&#39;", "'").replace("&gt;", ">") == (finished / "params.yaml").read_text()


def test_the_page_asks_for_nothing_and_runs_nothing(page: Page) -> None:
    addresses = [a[key] for _, a in page.tags for key in ("src", "href", "xlink:href") if key in a]
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "script" not in {tag for tag, _ in page.tags}
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))


def made_here(path: Path) -> int:
    return sum(a.get("class") == "here" for _, a in Page(path.read_text()).tags)


def test_stages_that_ran_here_have_their_time_and_others_are_said_to_come_from_elsewhere(
    finished: Path, report: Path
) -> None:
    assert made_here(report) == 8
    record = finished / "artifacts/cost/search@0.json"
    kept = record.read_text()
    try:
        value = json.loads(kept)
        value["outs"]["artifacts/search/seed-0/history.csv"] = "0" * 32
        record.write_text(json.dumps(value))
        run(finished, "midas", "report", "-o", "other.html")
        assert made_here(finished / "other.html") == 7
    finally:
        record.write_text(kept)
        (finished / "other.html").unlink(missing_ok=True)


def copied(finished: Path, folder: Path) -> Path:
    """The files that the report reads, to be changed."""
    shutil.copytree(finished / "artifacts", folder / "artifacts")
    shutil.copytree(finished / "models", folder / "models")
    shutil.copy(finished / "params.yaml", folder)
    return folder


def rendered(root: Path) -> str:
    return render_report(root, yaml.safe_load((root / "params.yaml").read_text()), [])


def test_a_hostile_class_name_is_text(finished: Path, tmp_path: Path) -> None:
    root, evil = copied(finished, tmp_path), "<script>alert('x')</script>\"><b>"
    meta = files.read_json(root / "artifacts/data/meta.json")
    old, meta["classes"][0] = meta["classes"][0], evil
    files.write_json(root / "artifacts/data/meta.json", meta)
    table = root / "artifacts/evaluate/mine/predictions.csv"
    rows = list(csv.DictReader(table.read_text().splitlines()))
    files.write_csv(table, [{k: evil if v == old else v for k, v in row.items()} for row in rows])
    page = Page(rendered(root))
    assert {"script", "b"} & {tag for tag, _ in page.tags} == {"b"}, "the tiles' own"
    assert sum(tag == "b" for tag, _ in page.tags) == sum(a.get("class") == "tile" for _, a in page.tags)
    counts = [n for n in page.numbers if evil in json.loads(n.attributes.get("data-where", "{}")).values()]
    assert sum(looked_up(root, n.attributes) for n in counts) > 0


def test_what_was_not_measured_on_this_machine_is_said_to_be_so(finished: Path, tmp_path: Path) -> None:
    root = copied(finished, tmp_path)
    (root / "models/mine/latency.json").unlink()
    (root / "artifacts/train/mine/cost.json").unlink()
    assert rendered(root).count("not measured here") == 3


def test_experiments_stand_side_by_side_with_numbers_that_name_them(finished: Path) -> None:
    run(finished, "git", "add", "-A")
    run(finished, "git", *IDENTITY, "commit", "-q", "--allow-empty", "-m", "found")
    run(finished, "midas", "report", "--compare", "HEAD", "HEAD", "-o", "report/two.html")
    page = Page((finished / "report/two.html").read_text())
    assert len(page.numbers) == 2 * 10
    for number in page.numbers:
        revision, _, file = number.attributes["data-file"].partition(":")
        assert revision == "HEAD"
        assert float(number.attributes["value"]) == looked_up(finished, {**number.attributes, "data-file": file})
    assert "Nothing." in page.words, "no parameter differs"


@pytest.mark.skipif(not has_browser(), reason="Debian's chromium is not installed")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_without_sideways_scrolling_and_without_complaints(
    report: Path, width: int, tmp_path: Path
) -> None:
    found = width_in_browser(report, width, tmp_path)
    assert found["scroll"] <= width
    assert found["height"] > 2000
    assert found["console"] == []
