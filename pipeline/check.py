"""The check of the whole params.yaml when a stage begins: no mistake waits for a later stage."""

from pathlib import Path
from typing import Any

from pipeline import names, paths


def check_params(images_prepared: bool) -> None:
    """Raise ParamsError for a fault in any section, or a batch larger than the training images."""
    from midas.data.config import DataConfig
    from midas.deploy.export import ExportConfig
    from midas.io import files
    from midas.io.errors import ParamsError
    from midas.proxy.config import DecodeStageConfig
    from midas.search.config import SearchConfig
    from midas.train.config import TimmTargetConfig
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
    images = size = None
    if images_prepared and meta.is_file():
        described = files.read_json(meta)
        images, size = described["counts"]["train"], described["size"]
    for target, section in targets.sections().items() if "targets" in sections else ():
        config = targets.config(names.check_target(target))
        if isinstance(config, TimmTargetConfig):
            _check_model(target, config.model, size)
        batch = config.batch_size
        if images is not None and batch > images:
            raise ParamsError(
                f"{params.PARAMS}: {section}.{target}.batch_size: {batch} is more than the "
                f"{images} training images; make it {images} or less"
            )


def _check_model(target: str, name: str, size: int | None) -> None:
    """Refuse a model of timm that is unknown or, at `size`, cannot be exported; tried only once."""
    import tempfile

    import timm
    import torch

    from midas.deploy.export import export_onnx
    from midas.io import files
    from midas.io.errors import ExportError, reason
    from midas.nets import timm_models

    timm_models.check_name(name)
    passed = paths.PLANS / f"{target}.exported"
    key = f"{name} {size} timm {timm.__version__} torch {torch.__version__}\n"
    if size is None or (passed.is_file() and passed.read_text() == key):
        return
    model = timm_models.create(name, 2, size)
    try:
        if model(torch.zeros(2, 3, size, size)).shape != (2, 2):
            raise ValueError("it returns more than logits while it is trained")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            export_onnx(model.eval(), path, input_size=(3, size, size), metadata={})
    except Exception as error:  # of the model and of the exporter
        text = f"cannot be trained and exported at {size} pixels ({reason(error)[:120]})"
        raise ExportError(f"timm_targets.{target}: {name} {text}; take another model") from error
    files.write_text(passed, key)
