"""What running a stage shares: its code as dvc.yaml names it, and its checkpoint."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from midas.runs.checkpoint import Checkpoint, fingerprint
from pipeline.layout import CHECKPOINTS


def code_of(stage: str) -> list[Path]:
    """The files and folders of code that dvc.yaml names among the stage's deps; a test proves them complete."""
    definition = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    deps = definition.get("do", definition)["deps"]
    return [Path(dep) for dep in deps if dep.startswith(("midas/", "pipeline/"))]


def checkpoint(stage: str, item: str | int, params: Mapping[str, Any], data: Sequence[Path]) -> Checkpoint:
    """The checkpoint of one run of a stage, under a fingerprint of its parameters, its code and its data.

    Args:
        stage: the stage's name in dvc.yaml.
        item: which run of it: a seed, a target.
        params: the parameters it runs with, JSON values.
        data: the files and folders it reads.
    """
    print_ = fingerprint({"stage": stage, "item": str(item), **params}, [*code_of(stage), *data])
    return Checkpoint(CHECKPOINTS / f"{stage}-{item}", print_)
