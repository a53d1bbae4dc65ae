"""`midas init PRESET`: make a preset the active params.yaml. A light command: it does not import `midas`."""

import subprocess
from pathlib import Path
from typing import Annotated

import typer

from midas_cli import CommandError

PRESETS = Path("presets")
PARAMS = Path("params.yaml")


def command(
    preset: Annotated[str, typer.Argument(help="A name from presets/, e.g. quickstart, cifar10-cpu, folder.")],
    force: Annotated[bool, typer.Option(help="Replace a params.yaml that was edited.")] = False,
) -> None:
    """Write presets/PRESET.yaml to params.yaml; refuses to overwrite an edited one."""
    names = sorted(path.stem for path in PRESETS.glob("*.yaml"))
    if not names or not Path("dvc.yaml").is_file():
        raise CommandError(
            "init works in the root of a clone of the repository, where dvc.yaml and presets/ are; this folder has none"
        )
    if preset not in names:
        raise CommandError(f"init: there is no preset {preset!r}; known are {', '.join(names)}")
    if PARAMS.is_file() and not force and not _is_known(PARAMS.read_bytes()):
        raise CommandError(
            "params.yaml differs from every preset and from HEAD, so writing the preset would lose your edits; "
            "commit or move it, or say --force"
        )
    temporary = PARAMS.with_suffix(".yaml.part")
    temporary.write_bytes((PRESETS / f"{preset}.yaml").read_bytes())
    temporary.replace(PARAMS)  # whole or not at all
    print(f"params.yaml is now the preset {preset}")


def _is_known(current: bytes) -> bool:
    """Whether these parameters can be had again: from a preset or from git's HEAD."""
    if any(path.read_bytes() == current for path in PRESETS.glob("*.yaml")):
        return True
    shown = subprocess.run(["git", "show", f"HEAD:./{PARAMS}"], capture_output=True, check=False)
    return shown.returncode == 0 and shown.stdout == current
