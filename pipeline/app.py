"""The stage commands of the console script, one module each."""

import typer

from pipeline import analyse, build, data, decode, evaluate, export, search, summary, train


def add_stages(app: typer.Typer) -> None:
    """Add the commands that need a clone: the stages and `summary`."""
    for module in (data, search, decode, analyse, train, build, export, evaluate, summary):
        app.command(name=module.__name__.rpartition(".")[2])(module.command)
