"""Errors that a user can repair: each is one line that says what was wrong, where, what to do."""

from collections.abc import Iterable

LONGEST = 300  # characters of a message, which may quote a stranger's file


def printable(text: str) -> str:
    """The text as one line: line ends and a terminal's control sequences become escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shorten(text: str, most: int = 60) -> str:
    """The text as one printable line of at most `most` characters, without the middle of more."""
    line = printable(text if len(text) <= 2 * most else text[:most] + text[-most:])
    tail = most // 3
    return line if len(line) <= most else f"{line[: most - tail - 3]}...{line[-tail:]}"


def listed(names: Iterable[str], room: int = 120) -> str:
    """The first names, as many as fit into `room` characters, e.g. ``cat, dog, ...``."""
    shown: list[str] = []
    for name in names:
        if shown and len(", ".join([*shown, name])) > room:
            return ", ".join([*shown, "..."])
        shown.append(shorten(name, room))
    return ", ".join(shown)


def reason(error: BaseException) -> str:
    """An error's text on one short line, or its type's name if it has none."""
    return shorten(" ".join(str(error).split()), 200) or type(error).__name__


class MidasError(Exception):
    """Something that the user can repair, in one line of at most `LONGEST` characters."""

    def __init__(self, text: str) -> None:
        super().__init__(shorten(text, LONGEST))


class ParamsError(MidasError):
    """An unknown parameter, or a value out of range."""


class DataError(MidasError):
    """Data that are missing, broken or contradictory."""


class GenotypeError(MidasError):
    """A genotype that cannot be read, or does not fit its space."""


class ModelFolderError(MidasError):
    """A model folder that is incomplete or contradicts itself."""


class ExportError(MidasError):
    """An exported file that differs from its model."""


class TrainingDiverged(MidasError):
    """The loss is no longer a number; the last good checkpoint was kept."""
