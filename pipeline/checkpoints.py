"""A stage's checkpoint, under a fingerprint of its code; and the check of the images it reads."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from midas.data.config import DataConfig
from midas.data.prepared import DataMeta
from midas.engine.checkpoint import Checkpoint, fingerprint
from midas.io.errors import DataError
from pipeline import params as parameters
from pipeline.paths import CHECKPOINTS, DATA


def code_of(stage: str) -> list[Path]:
    """The code among the stage's deps in dvc.yaml, which a test proves complete."""
    stages = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    deps = stages[stage]["deps"]
    return [Path(dep) for dep in deps if dep.startswith(("midas/", "pipeline/"))]


def check_data(meta: DataMeta) -> None:
    """Raise DataError for prepared images of another source or size than params.yaml names.

    Under `dvc repro` they are what it names; a stage that is run by hand reads what is there.
    """
    config = parameters.section("data", DataConfig)
    size = config.image_size
    if (meta.source, meta.size) != (config.source, size or meta.size):
        pixels = f" at {size} pixels" if size else ""
        raise DataError(
            f"{DATA}: holds {meta.source} at {meta.size} pixels, and params.yaml asks for "
            f"{config.source}{pixels}; run `dvc repro data` first"
        )


def checkpoint(
    stage: str, item: str | int, params: Mapping[str, Any], data: Sequence[Path]
) -> Checkpoint:
    """The checkpoint of a stage's run for an item: a seed, or a training.

    Its fingerprint is of the stage's code, its `params` (JSON values), and the files and folders of
    `data` that it reads.
    """
    keys = {"stage": stage, "item": str(item), **params}
    name = fingerprint(keys, [*code_of(stage), *data])
    return Checkpoint(CHECKPOINTS / f"{stage}-{item}", name)
