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


def check_data(meta: DataMeta) -> None:
    """Raise DataError for prepared images of another source or size than params.yaml names."""
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
    """A stage's checkpoint for an item, named by its code, `params` and the files of `data`."""
    keys = {"stage": stage, "item": str(item), **params}
    definition = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    # a test proves these deps complete
    code = [Path(dep) for dep in definition["deps"] if dep.startswith(("midas/", "pipeline/"))]
    name = fingerprint(keys, [*code, *data])
    return Checkpoint(CHECKPOINTS / f"{stage}-{item}", name)
