"""The whole of params.yaml, checked when a stage begins: a mistake in what a later stage reads must not wait for it."""

from typing import Any

from pipeline import layout


def everything(stage: str) -> None:
    """Check every section that is there.

    Args:
        stage: which begins. All but ``data`` find the images prepared, so that batches can be held against them.

    Raises:
        ParamsError: a section is not known, a key or a value in one is not allowed, or a target's batch is larger than the
            training split.
    """
    from midas.data.config import DataConfig
    from midas.deploy.export import ExportConfig
    from midas.runs import files
    from midas.runs.errors import ParamsError
    from midas.search.config import DecodeConfig, SearchConfig
    from midas.train.config import TargetConfig
    from pipeline import params

    kinds: dict[str, Any] = {
        "data": DataConfig,
        "space": str,
        "seeds": params.Seeds,
        "search": SearchConfig,
        "decode": DecodeConfig,
        "training_seeds": params.Seeds,
        "targets": dict[str, Any],
        "export": ExportConfig,
        "launcher": str | None,
    }
    if not params.PARAMS.is_file():
        return  # the stage says where it runs
    given = params.read()
    for name in given:
        if name not in kinds:
            raise ParamsError(f"{params.PARAMS}: {name}: unknown section; allowed are {', '.join(kinds)}")
        params.value(str(name), kinds[name])
    meta = layout.DATA / "meta.json"
    images = files.read_json(meta)["counts"]["train"] if stage != "data" and meta.is_file() else None
    for target in given.get("targets", {}):
        batch = params.section(f"targets.{target}", TargetConfig).batch_size
        if images is not None and batch > images:
            raise ParamsError(
                f"{params.PARAMS}: targets.{target}.batch_size: {batch} is more than the {images} training images; "
                f"make it {images} or less"
            )
