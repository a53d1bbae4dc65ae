"""What the README and the method say of results is what benchmarks/RESULTS.md says, and every open question says so."""

import re
from collections.abc import Iterator

import pytest
from pages_of_docs import ROOT

from midas.search.config import SearchConfig

RESULTS = (ROOT / "benchmarks/RESULTS.md").read_text(encoding="utf-8")
SECTIONS = {title: text for title, _, text in (part.partition("\n") for part in RESULTS.split("\n## ")[1:])}
FIGURE = re.compile(r"(?<![\w.])\d[\d,.]*\d(?!\w)|(?<![\w.])\d(?![\w.])")


def rows(page: str, heading: str) -> Iterator[list[str]]:
    """The cells of the table below a heading, without its head."""
    section = (ROOT / page).read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def slug(title: str) -> str:
    """What a heading is called in an address, as GitHub and Python-Markdown make it."""
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip())


MEASURED = list(rows("README.md", "What was measured"))
QUESTIONS = list(rows("docs/method.md", "Open questions"))


def test_there_is_something_to_compare() -> None:
    assert len(MEASURED) >= 5
    assert len(QUESTIONS) >= 10


@pytest.mark.parametrize(("section", "result", "commands"), MEASURED, ids=[row[0][:30] for row in MEASURED])
def test_a_row_of_the_readme_has_the_figures_and_the_commands_of_the_section_it_names(
    section: str, result: str, commands: str
) -> None:
    link = re.fullmatch(r"\[(.+)\]\(benchmarks/RESULTS\.md#(.+)\)", section)
    assert link
    (title,) = [title for title in SECTIONS if slug(title) == link[2]]
    assert title.startswith(link[1])
    there = set(FIGURE.findall(SECTIONS[title]))
    assert FIGURE.search(result)
    assert [figure for figure in FIGURE.findall(result) if figure not in there] == []
    for command in re.findall(r"`([^`]+)`", commands):
        assert f"`{command}`" in SECTIONS[title]


@pytest.mark.parametrize(("question", "answer", "how"), QUESTIONS, ids=[row[0][:30] for row in QUESTIONS])
def test_an_open_question_has_a_measured_answer_or_says_that_it_has_none_and_how_one_would(
    question: str, answer: str, how: str
) -> None:
    assert answer.startswith(("measured: ", "open: "))
    assert how
    for name in re.findall(r"--set (\w+)=", how):
        assert name in SearchConfig.model_fields, f"{question}: search has no {name}"
    if answer.startswith("measured"):
        known = RESULTS + (ROOT / "docs/log.md").read_text(encoding="utf-8")
        assert [figure for figure in re.findall(r"\d+\.\d+", answer) if figure not in known] == []
