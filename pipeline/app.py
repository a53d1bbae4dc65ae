"""The stage commands of the console script, one module each."""

import typer

from pipeline import analyse, build, cost, data, decode, evaluate, export, names, report, search, summary, train


def add_stages(app: typer.Typer) -> None:
    """Add the commands that need a clone: the stages, `report` and `summary`."""
    for module in (data, search, decode, analyse, train, build, export, evaluate):
        stage = module.__name__.rpartition(".")[2]
        item = names.training if module is train else str
        app.command(name=stage)(cost.timed(stage, module.command, item))
    for module in (report, summary):
        app.command(name=module.__name__.rpartition(".")[2])(module.command)
