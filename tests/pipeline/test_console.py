"""A stage ends with a table on a terminal, text in a log, an object for a program, or nothing."""

import json
import re
from pathlib import Path

import pytest
from terminals import on_terminal

from midas.io.errors import ParamsError
from pipeline import console
from pipeline.summary_table import Fact, Facts, Summary

COLUMNS: dict[str, Facts] = {
    "seed 0": {"steps": 1200, "accuracy": Fact(0.25, ".1%"), "cell": "368e2bd702b8"},
    "[red]seed 1": {"steps": 80, "accuracy": Fact(0.5, ".1%"), "kept": "yes", "cell": None},
}
SUMMARY = Summary("select", COLUMNS, Path("artifacts/genotype"))
CODE = f"""
from pathlib import Path
from pipeline import console
from pipeline.summary_table import Fact, Summary
console.show(Summary("select", {COLUMNS!r}, Path("artifacts/genotype")))
"""


def printed(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    *,
    always: bool = False,
) -> str:
    monkeypatch.setenv("MIDAS_PROGRESS", mode)
    console.show(SUMMARY, always)
    return capsys.readouterr().out


@pytest.mark.parametrize("mode", ["auto", "plain"])
def test_a_log_gets_aligned_columns_of_plain_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    assert printed(capsys, monkeypatch, mode).splitlines() == [
        "select    seed 0        [red]seed 1",
        "steps     1,200         80",
        "accuracy  25.0%         50.0%",
        "cell      368e2bd702b8",
        "kept                    yes",
        "written to artifacts/genotype",
    ]


def test_a_terminal_gets_a_table() -> None:
    shown = on_terminal(CODE)
    assert "\x1b[" in shown
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line).split() for line in shown.splitlines()]
    assert ["accuracy", "25.0%", "50.0%"] in lines
    assert ["select", "seed", "0", "[red]seed", "1"] in lines, "names are text, not markup"
    assert lines[-1] == ["written", "to", "artifacts/genotype"]


def test_a_program_gets_one_object_with_the_numbers_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert json.loads(printed(capsys, monkeypatch, "json")) == {
        "stage": "select",
        "summary": {
            "seed 0": {"steps": 1200, "accuracy": 0.25, "cell": "368e2bd702b8"},
            "[red]seed 1": {"steps": 80, "accuracy": 0.5, "kept": "yes", "cell": None},
        },
        "wrote": "artifacts/genotype",
    }


def test_quiet_hides_it_unless_it_was_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert printed(capsys, monkeypatch, "quiet") == ""
    assert printed(capsys, monkeypatch, "quiet", always=True).startswith("select ")


def test_a_form_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDAS_PROGRESS", "loud")
    with pytest.raises(ParamsError, match=r"^MIDAS_PROGRESS: 'loud' is not allowed: it is one of"):
        console.form()
