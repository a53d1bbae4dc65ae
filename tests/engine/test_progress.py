"""Progress goes to whoever asked for it, and to nobody otherwise."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from midas.engine import loop as module
from midas.engine.loop import Reporter, progress, show_progress_with


class Recorder(Reporter):
    """Counts steps."""

    def __init__(self, title: str, total: int, done: int) -> None:
        self.arguments = (title, total, done)
        self.steps = 0
        self.is_open = True

    def step(self, **values: float) -> None:
        self.steps += 1


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    """The reporters that `show_progress_with` has led to."""
    monkeypatch.setattr(module, "_show", module._show)  # restored after the test
    recorders = []

    @contextmanager
    def show(title: str, total: int, done: int) -> Iterator[Reporter]:
        recorders.append(Recorder(title, total, done))
        try:
            yield recorders[-1]
        finally:
            recorders[-1].is_open = False

    show_progress_with(show)
    return recorders


def test_without_a_program_that_shows_it_nothing_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress("search seed 0", total=4, done=1) as report:
        report.step(loss=1.0)
        report.skip(2)
        report.note("epoch 1/2", {"accuracy": 0.5})
    assert capsys.readouterr() == ("", "")


def test_reports_go_to_the_reporter_that_a_program_sets(shown: list[Recorder]) -> None:
    with progress("search seed 0", total=4, done=1) as report:
        report.step(loss=1.0)
        report.step(loss=0.5)
        assert shown[0].is_open
    assert shown[0].arguments == ("search seed 0", 4, 1)
    assert shown[0].steps == 2
    assert not shown[0].is_open


def test_a_quiet_computation_is_not_shown(shown: list[Recorder]) -> None:
    with progress("proxy training", total=4, quiet=True) as report:
        report.step(loss=1.0)
    assert shown == []


def test_an_error_within_ends_the_reporter_and_goes_on(shown: list[Recorder]) -> None:
    with pytest.raises(ValueError, match="broken"), progress("search seed 0", total=4):
        raise ValueError("broken")
    assert not shown[0].is_open
