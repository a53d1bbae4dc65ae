"""Which run of a stage a command is for: a target, a seed, or both, plainly or by DVC's name.

dvc.yaml hands over ``$DVC_STAGE``, so that no text of params.yaml is part of a shell's command.
"""

import re
from typing import Annotated, NamedTuple

import typer

_TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# no texts in YAML 1.1, which other tools read
_YAML_VALUES = frozenset({"on", "off", "yes", "no", "y", "n", "true", "false", "null"})


class Training(NamedTuple):
    """One training: a target and a seed."""

    target: str
    seed: int

    def __str__(self) -> str:
        """As DVC names it."""
        return f"{self.target}-{self.seed}"


def target(text: str) -> str:
    """The target in ``digits`` or ``build@digits``; raises as `check_target` does."""
    return check_target(_item(text))


def check_target(name: str) -> str:
    """The same name, or a ParamsError where a folder or a DVC stage cannot have it."""
    if _TARGET.fullmatch(name) and name.lower() not in _YAML_VALUES:
        return name
    from midas.io.errors import ParamsError  # here: `--help` must not import midas

    raise ParamsError(
        f"targets: {name[:80]!r} is not a target's name; a name has up to 64 letters, digits, "
        "_ and -, begins with a letter or a digit, and is not true, on, yes or the like"
    )


def seed(text: str) -> int:
    """The seed in ``0`` or ``search@0``; a wrong one is wrong usage."""
    number = _item(text)
    if not re.fullmatch(r"[0-9]{1,18}", number):
        raise typer.BadParameter(f"{number[:80]!r} is not a whole number of at least 0")
    return int(number)


def training(text: str, number: int | None = None) -> Training:
    """The training in ``train@digits-0``, whose target may hold hyphens, or of target and seed."""
    if "@" in text:
        name, hyphen, own_seed = _item(text).rpartition("-")
        if not hyphen or number is not None:
            fault = "names its seed already" if hyphen else "names no seed"
            raise typer.BadParameter(
                f"{text[:80]!r} {fault}; say TARGET SEED, or train@TARGET-SEED"
            )
        return Training(check_target(name), seed(own_seed))
    name = check_target(text)
    if number is None:
        from pipeline import params  # here: `--help` must not import midas

        number = params.value("training_seeds", params.Seeds)[0]
    return Training(name, number)


def _item(text: str) -> str:
    """What stands behind the first @ (a hostile name may hold another), or the whole text."""
    return text.partition("@")[2] if "@" in text else text


Target = Annotated[
    str, typer.Argument(parser=target, help="One of `targets`, or its stage in DVC.")
]
Seed = Annotated[int, typer.Argument(parser=seed, help="One of `seeds`, or its stage in DVC.")]
TrainingTarget = Annotated[
    str, typer.Argument(help="One of `targets`, or the training's stage in DVC.")
]
TrainingSeed = Annotated[
    int | None, typer.Argument(parser=seed, help="One of `training_seeds`; the first by default.")
]
