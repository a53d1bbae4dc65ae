"""Which run of a stage a command is for: a target or a seed, plainly or as DVC names it (``train@digits``).

dvc.yaml hands over ``$DVC_STAGE``, so that no text of params.yaml ever becomes part of a shell's command line.
"""

import re
from typing import Annotated

import typer

_TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def target(text: str) -> str:
    """The target in ``digits`` or ``train@digits``.

    Raises:
        ParamsError: it is no name that a folder and a DVC stage can have.
    """
    return checked(_item(text))


def checked(name: str) -> str:
    """A target's name as params.yaml has it; raises as `target` does."""
    if not _TARGET.fullmatch(name):
        from midas.runs.errors import ParamsError  # here: `--help` must not import midas

        raise ParamsError(
            f"targets: {name[:80]!r} is no name for a target; it takes up to 64 letters, digits, _ and -, no _ or - first"
        )
    return name


def seed(text: str) -> int:
    """The seed in ``0`` or ``search@0``; a wrong one is wrong usage."""
    number = _item(text)
    if not re.fullmatch(r"[0-9]{1,18}", number):
        raise typer.BadParameter(f"{number[:80]!r} is not a whole number of at least 0")
    return int(number)


def _item(text: str) -> str:
    """What stands behind the first @, or all of a text without one: a hostile name may hold another."""
    return text.partition("@")[2] if "@" in text else text


Target = Annotated[str, typer.Argument(parser=target, help="One of `targets` in params.yaml, or its stage in DVC.")]
Seed = Annotated[int, typer.Argument(parser=seed, help="One of `seeds` in params.yaml, or its stage in DVC.")]
