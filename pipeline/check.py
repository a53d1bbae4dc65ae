"""The check of the whole params.yaml when a stage begins: no mistake waits for a later stage."""

from typing import Any

from pipeline import names, paths


def check_params(images_prepared: bool) -> None:
    """Check every section of params.yaml, and batches against the number of prepared images.

    Raises ParamsError for an unknown section, key or value, or a batch larger than the split.
    """
    from midas.data.config import DataConfig
    from midas.deploy.export import ExportConfig
    from midas.io import files
    from midas.io.errors import ParamsError
    from midas.proxy.config import DecodeStageConfig
    from midas.search.config import SearchConfig
    from pipeline import params, targets

    kinds: dict[str, Any] = {
        "data": DataConfig,
        "space": str,
        "seeds": params.Seeds,
        "search": SearchConfig,
        "decode": DecodeStageConfig,
        "training_seeds": params.Seeds,
        **dict.fromkeys(targets.KINDS, dict[str, Any]),
        "export": ExportConfig,
        "launcher": str | None,
        "teacher": str,
    }
    if not params.PARAMS.is_file():
        return  # the stage says where it runs
    sections = params.read()
    for name in sections:
        if name not in kinds:
            raise ParamsError(
                f"{params.PARAMS}: {name}: unknown section; allowed are {', '.join(kinds)}"
            )
        params.value(str(name), kinds[name])
    meta = paths.DATA / "meta.json"
    images = None
    if images_prepared and meta.is_file():
        images = files.read_json(meta)["counts"]["train"]
    for target, section in targets.sections().items() if "targets" in sections else ():
        batch = targets.config(names.check_target(target)).batch_size
        if images is not None and batch > images:
            raise ParamsError(
                f"{params.PARAMS}: {section}.{target}.batch_size: {batch} is more than the "
                f"{images} training images; make it {images} or less"
            )
