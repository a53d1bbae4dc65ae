"""Errors for people: each is one line that says what was wrong, where, and what to do.

Everything that a user can mend is a `MidasError`. The command line prints its text alone and exits with 1 (a traceback
comes with ``--debug``); any other exception is a fault of this project and keeps its traceback.
"""

LONGEST = 2000  # characters of a message: what it quotes may come from a stranger's file


def printable(text: str) -> str:
    """Text as one line: line ends and a terminal's control sequences are written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class MidasError(Exception):
    """Something the user can mend.

    Args:
        text: the message. Whatever it quotes, it becomes one line of at most `LONGEST` printable characters.
    """

    def __init__(self, text: str) -> None:
        line = printable(text[:LONGEST])
        super().__init__(line if len(line) <= LONGEST and len(text) <= LONGEST else f"{line[: LONGEST - 4]} ...")


class ParamsError(MidasError):
    """An unknown key or a value out of range in the parameters."""


class DataError(MidasError):
    """Data that are missing, broken or contradictory."""


class GenotypeError(MidasError):
    """A genotype that cannot be read or that does not fit its space."""


class ModelFolderError(MidasError):
    """A model folder that is incomplete or contradicts itself."""


class ExportError(MidasError):
    """An exported file that is not equal to the model it was made from."""


class TrainingDiverged(MidasError):
    """The loss stopped being a number; the last good checkpoint was kept."""
