"""Progress: a line that a person reads later, a line that a program reads, a bar on a terminal, or nothing."""

import json

import pytest
from terminals import on_terminal

from midas.runs.errors import ParamsError
from midas.runs.progress import progress

ROW = {"epoch": 1, "arch_accuracy": 0.5, "skips": 3, "genotype": "|...|"}
BAR = """
import time
from midas.runs.progress import progress
with progress("search seed 0", 2) as report:
    for accuracy in (0.5, 0.25):
        report.step(loss=1.0)
        time.sleep(0.15)
        report.note("[bold]epoch", {"arch_accuracy": accuracy, "skips": 3}, judge="arch_accuracy")
"""


def told(capsys: pytest.CaptureFixture[str], mode: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MIDAS_PROGRESS", mode)
    with progress("search seed 0", total=4, done=1) as report:
        report.step(loss=1.0)
        report.note("epoch 1/2", ROW, judge="arch_accuracy")
        report.step(loss=1.0)
        report.note("epoch 2/2", {**ROW, "arch_accuracy": 0.25}, judge="arch_accuracy")
    return capsys.readouterr().out


def test_a_log_gets_one_plain_line_a_note_with_speed_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = told(capsys, "auto", monkeypatch).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("search seed 0: epoch 1/2 | 2/4 steps, ")
    assert lines[0].endswith(" s left")
    assert "\x1b" not in "".join(lines)


def test_a_program_gets_one_json_object_a_note(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [json.loads(line) for line in told(capsys, "json", monkeypatch).splitlines()]
    assert [value["done"] for value in values] == [2, 3]
    assert [value["arch_accuracy"] for value in values] == [0.5, 0.25]
    assert [value["best"] for value in values] == [0.5, 0.5]
    assert values[0]["stage"] == "search seed 0"
    assert "genotype" not in values[0], "numbers alone"


def test_steps_that_needed_no_work_are_done_and_say_nothing_of_the_speed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIDAS_PROGRESS", "json")
    with progress("refine", total=4) as report:
        report.skip(3)
        report.note("three were known")
    row = json.loads(capsys.readouterr().out)
    assert (row["done"], row["total"], row["steps_per_second"]) == (3, 4, 0.0)


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(capsys, "quiet", monkeypatch) == ""


def test_another_mode_is_refused_with_what_is_allowed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        ParamsError, match="MIDAS_PROGRESS: 'loud' is not allowed: it is one of auto, plain, json, quiet"
    ):
        told(capsys, "loud", monkeypatch)


def test_a_terminal_shows_a_bar_with_speed_the_best_value_and_the_skips() -> None:
    text = on_terminal(BAR)
    assert "2/2" in text
    assert "best 0.500 skips 3" in text
    assert "/s" in text
    assert "[bold]epoch" in text, "a note is text, not markup"
