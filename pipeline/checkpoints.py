"""A stage's checkpoint, under a fingerprint of its code as dvc.yaml names it; and the check of the
images it reads.
"""

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
    """The files and folders of code among the stage's deps in dvc.yaml; a test proves them
    complete.
    """
    stages = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    deps = stages[stage]["deps"]
    return [Path(dep) for dep in deps if dep.startswith(("midas/", "pipeline/"))]


def check_data(meta: DataMeta) -> None:
    """Refuse prepared images of another source or size than params.yaml names, as after `midas
    init` of another preset.

    Under `dvc repro` they are what it names; a stage that is run by hand reads what is there.

    Raises:
        DataError: they are of something else.
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
    """The checkpoint of one run of a stage, under a fingerprint of its parameters, its code and its
    data.

    Args:
        stage: the stage's name in dvc.yaml.
        item: which run of it: a seed, a training.
        params: the parameters it runs with, JSON values.
        data: the files and folders it reads.
    """
    keys = {"stage": stage, "item": str(item), **params}
    name = fingerprint(keys, [*code_of(stage), *data])
    return Checkpoint(CHECKPOINTS / f"{stage}-{item}", name)
