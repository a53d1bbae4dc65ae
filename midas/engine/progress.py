"""Reports of a long computation, and who shows them.

The library prints nothing. A program that wants reports shown calls `show_progress_with` once.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any


class Reporter:
    """Receives the reports of one computation. This one shows nothing."""

    def step(self, **values: float) -> None:
        """One step is done; `values` are its loss and accuracy."""

    def skip(self, count: int) -> None:
        """So many steps needed no work, because an earlier run has done them."""

    def note(self, text: str, row: Mapping[str, Any] | None = None, best_of: str = "") -> None:
        """A line of `text` that stays, and the numbers of an epoch.

        `best_of` is the key of the row whose largest value so far is worth showing.
        """


Show = Callable[[str, int, int], AbstractContextManager[Reporter]]  # of title, total and done steps


def _silent(title: str, total: int, done: int) -> AbstractContextManager[Reporter]:
    return nullcontext(Reporter())


_show: Show = _silent


def show_progress_with(show: Show) -> None:
    """Let `show` make the reporters from now on, in this process."""
    global _show
    _show = show


def progress(
    title: str, total: int, done: int = 0, quiet: bool = False
) -> AbstractContextManager[Reporter]:
    """Report `total` steps of which an earlier run made `done`; nothing is shown where `quiet`."""
    return (_silent if quiet else _show)(title, total, done)
