"""What a stage reports of its result. How that is shown is the console's business."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Fact(NamedTuple):
    """A number, its format for people (such as ``.2%``), and a text behind it, e.g. its unit."""

    value: float
    spec: str = ","
    unit: str = ""


Facts = Mapping[str, Fact | int | str | None]


class Summary(NamedTuple):
    """One table."""

    title: str  # the stage
    columns: Mapping[str, Facts]  # by seed or target; a fact that a column lacks leaves a gap
    wrote: Path  # where the files are
