"""What a stage says at its end: a table on a terminal, plain text in a log, an object for a program, or nothing."""

import json
import re
from pathlib import Path

import pytest
from terminals import on_terminal

from midas.runs.summary import Fact, Facts, summarise

COLUMNS: dict[str, Facts] = {
    "seed 0": {"steps": 1200, "accuracy": Fact(0.25, ".1%"), "cell": "368e2bd702b8"},
    "[red]seed 1": {"steps": 80, "accuracy": Fact(0.5, ".1%"), "kept": "yes"},
}
CODE = f"""
from pathlib import Path
from midas.runs.summary import Fact, summarise
summarise("decode", {COLUMNS!r}, Path("artifacts/genotype"))
"""


def told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, mode: str, *, always: bool = False
) -> str:
    monkeypatch.setenv("MIDAS_PROGRESS", mode)
    summarise("decode", COLUMNS, Path("artifacts/genotype"), always)
    return capsys.readouterr().out


@pytest.mark.parametrize("mode", ["auto", "plain"])
def test_a_log_gets_aligned_columns_of_plain_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    assert told(capsys, monkeypatch, mode).splitlines() == [
        "decode    seed 0        [red]seed 1",
        "steps     1,200         80",
        "accuracy  25.0%         50.0%",
        "cell      368e2bd702b8",
        "kept                    yes",
        "written to artifacts/genotype",
    ]


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_terminal(CODE)
    assert "\x1b[" in shown
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line).split() for line in shown.splitlines()]
    assert ["accuracy", "25.0%", "50.0%"] in lines
    assert ["decode", "seed", "0", "[red]seed", "1"] in lines, "names are text, not markup"
    assert lines[-1] == ["written", "to", "artifacts/genotype"]


def test_a_program_gets_one_object_with_the_numbers_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert json.loads(told(capsys, monkeypatch, "json")) == {
        "stage": "decode",
        "summary": {
            "seed 0": {"steps": 1200, "accuracy": 0.25, "cell": "368e2bd702b8"},
            "[red]seed 1": {"steps": 80, "accuracy": 0.5, "kept": "yes"},
        },
        "wrote": "artifacts/genotype",
    }


def test_quiet_hides_it_unless_it_was_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(capsys, monkeypatch, "quiet") == ""
    assert told(capsys, monkeypatch, "quiet", always=True).startswith("decode ")
