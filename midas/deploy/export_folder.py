"""From a model folder to one that can be deployed: ONNX files, parity.json and predict.py."""

import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from midas.data.augment import normalise
from midas.data.prepared import DataMeta, Split
from midas.deploy import predict
from midas.deploy.calibration import calibrate
from midas.deploy.export import ExportConfig, describe, export_onnx
from midas.deploy.familiarity import IMAGES, fit_familiarity
from midas.deploy.onnx_evaluation import measure_loss
from midas.deploy.parity import BATCH, verify
from midas.deploy.runtimes import run_torch
from midas.deploy.variants import evenly_spaced, write_int8
from midas.io import files
from midas.io.errors import ExportError
from midas.zoo.model_folder import check_data, network_id, open_model_folder

MODEL = "model.onnx"
PARITY = "parity.json"
VARIANTS = "variants"  # a folder, since DVC cannot track a file that may be missing
_UNVERIFIED = ".export-"  # prefix of the folder in which files wait for their verification
_ABOUT_VARIANTS = """\
Smaller files beside model.onnx with the same input and output. `export.variants` asks for them;
only those that lose little accuracy are here. What each one loses is in parity.json.
"""


def ship(
    folder: Path,
    config: ExportConfig,
    split: Split,
    meta: DataMeta,
    version: str,
    training: Tensor | None = None,
) -> dict[str, Any]:
    """Write model.onnx, parity.json, variants/ and predict.py into a model folder.

    A file that fails its verification does not stay there, nor does one of an earlier export.
    Network and files are compared on `split`; `training`, uint8 [N, 3, H, W], is for int8 and
    `reject`, which ships the network as `Familiar`. The returned value is that of parity.json.

    Raises:
        ModelFolderError: the folder is incomplete, contradicts itself, or belongs to other data.
        ExportError: the network cannot be exported, or the file does not agree with it.
    """
    if config.needs_training and (training is None or len(training) == 0):
        needed_for = "int8" if "int8" in config.variants else "reject"
        raise ExportError(f"{folder}: {needed_for} needs training images; run the data stage again")
    model, description = open_model_folder(folder)
    meta = check_data(folder, description, meta)
    _remove_earlier(folder)
    images = normalise(split.images, meta.mean, meta.std)
    learned = {}
    if config.reject is not None and training is not None:
        batches = evenly_spaced(training, IMAGES).split(BATCH)
        normalised = (normalise(batch, meta.mean, meta.std) for batch in batches)
        model = fit_familiarity(model, normalised, images.split(BATCH))
        learned = model.metadata()
    logits = run_torch(model, images, BATCH)
    calibration = calibrate(logits, split.labels, config.reject)
    interface = config.interface(meta.mean, meta.std, calibration["temperature"])
    network = network_id(folder, description)
    metadata = describe(description, network, version, interface, calibration) | learned
    size = tuple(description["pretrained_cfg"]["input_size"])
    export = partial(
        export_onnx, input_size=size, metadata=metadata, interface=interface, opset=config.opset
    )
    inputs = interface.encode(split.images)
    with tempfile.TemporaryDirectory(prefix=_UNVERIFIED, dir=folder) as name:
        plain = Path(name, MODEL)
        export(model, plain)
        parity = verify(
            model, plain, images, config.tolerance, interface, inputs, config.second_runtime
        )
        files.write_text(Path(name, VARIANTS, "README.md"), _ABOUT_VARIANTS)
        parity["calibration"] = calibration
        if config.variants:
            parity["variants"] = {}
            expected = interface.expected_output(logits)
        for kind in config.variants:
            path = Path(name, VARIANTS, f"model.{kind}.onnx")
            if kind == "fp16":
                export(model, path, half=True)
            elif training is not None:
                ranges = evenly_spaced(training, config.calibration_images)
                write_int8(plain, path, interface.encode(ranges), metadata)
            measured = measure_loss(path, expected, split, interface)
            limit = config.max_accuracy_loss + 1e-9  # a loss of exactly the limit must pass
            shipped = measured["finite"] and measured["accuracy_loss"] <= limit
            if not shipped:
                path.unlink()
            parity["variants"][kind] = {**measured, "shipped": shipped}
        files.move(Path(name, VARIANTS), folder / VARIANTS)
        files.move(plain, folder / MODEL)
    files.write_json(folder / PARITY, parity)
    files.write_bytes(folder / "predict.py", Path(predict.__file__).read_bytes())
    return parity


def find_variants(folder: Path) -> dict[str, Path]:
    """The variants in a model folder by kind: ``{"int8": .../variants/model.int8.onnx}``."""
    paths = sorted((folder / VARIANTS).glob("model.*.onnx"))
    return {path.name.split(".")[1]: path for path in paths}


def _remove_earlier(folder: Path) -> None:
    for name in (MODEL, PARITY):
        (folder / name).unlink(missing_ok=True)
    for path in (folder / VARIANTS, *folder.glob(f"{_UNVERIFIED}*")):
        shutil.rmtree(path, ignore_errors=True)
