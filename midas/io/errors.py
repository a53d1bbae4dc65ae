"""Errors that a user can repair: each is one line that says what was wrong, where, what to do.

The command line prints it and exits with 1. Any other exception is a bug with a traceback.
"""

LONGEST = 2000  # characters of a message, which may quote a stranger's file


def printable(text: str) -> str:
    """The text as one line: line ends and a terminal's control sequences become escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def reason(error: BaseException) -> str:
    """An error's text on one line of at most 300 characters, or its type's name if it has none."""
    return " ".join(str(error).split())[:300] or type(error).__name__


class MidasError(Exception):
    """Something that the user can repair, in one line of at most `LONGEST` characters."""

    def __init__(self, text: str) -> None:
        line = printable(text[:LONGEST])
        if len(line) > LONGEST or len(text) > LONGEST:
            line = f"{line[: LONGEST - 4]} ..."
        super().__init__(line)


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
