"""The commands that need a clone of the repository: `init`, the stages, `report`, `summary`."""

import subprocess
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from pipeline import (
    analyse,
    build,
    data,
    decode,
    evaluate,
    export,
    names,
    report,
    search,
    select,
    summary,
    train,
)
from pipeline.run_stage import stage_command

PRESETS = Path("presets")
PARAMS = Path("params.yaml")


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the console script."""
    app.command()(init)
    for module in (data, search, decode, select, analyse, train, build, export, evaluate):
        stage = module.__name__.rpartition(".")[2]
        item = names.training if module is train else str
        app.command(name=stage)(stage_command(stage, module.command, item))
    app.command(name="report")(report.command)
    app.command(name="summary")(summary.command)


def init(
    preset: Annotated[str, typer.Argument(help="A name from presets/, e.g. quickstart.")],
    force: Annotated[bool, typer.Option(help="Replace an edited params.yaml.")] = False,
) -> None:
    """Write presets/PRESET.yaml to params.yaml."""
    presets = sorted(path.stem for path in PRESETS.glob("*.yaml"))
    if not presets or not Path("dvc.yaml").is_file():
        _fail("it works in the root of a clone of the repository, where dvc.yaml and presets/ are")
    if preset not in presets:
        _fail(f"there is no preset {preset!r}; known are {', '.join(presets)}")
    if PARAMS.is_file() and not force and not _is_known(PARAMS.read_bytes()):
        _fail(
            "params.yaml differs from every preset and from HEAD, so the preset would replace your "
            "edits; commit or move it, or say --force"
        )
    temporary = PARAMS.with_suffix(".yaml.part")
    temporary.write_bytes((PRESETS / f"{preset}.yaml").read_bytes())
    temporary.replace(PARAMS)  # whole or not at all
    # `make repro` hides the quickstart's dvc.lock from git; that of other parameters is to commit
    show_lock = ["git", "update-index", "--no-skip-worktree", "dvc.lock"]
    subprocess.run(show_lock, capture_output=True, check=False)
    print(f"params.yaml is now the preset {preset}")
    from pipeline.params import read

    root = read(PARAMS)["data"].get("root")
    if root is not None and not Path(root).exists():
        print(f"next: set data.root in it; {root} does not exist yet. `midas data` checks it")


def _fail(text: str) -> NoReturn:
    """End with one line and exit code 1; importing the errors of `midas` would take seconds."""
    raise SystemExit(f"midas: init: {text}")


def _is_known(current: bytes) -> bool:
    """Whether these parameters can be had again: from a preset or from git's HEAD."""
    if any(path.read_bytes() == current for path in PRESETS.glob("*.yaml")):
        return True
    command = ["git", "show", f"HEAD:./{PARAMS}"]
    shown = subprocess.run(command, capture_output=True, check=False)
    return shown.returncode == 0 and shown.stdout == current
