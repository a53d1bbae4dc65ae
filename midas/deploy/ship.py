"""From a model folder to a folder that can be deployed: a verified model.onnx, the proof, variants, and predict.py."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor

from midas.data.augment import normalise
from midas.data.prepared import DataMeta, Split
from midas.deploy import predict
from midas.deploy.export import ExportConfig, describe, export_onnx
from midas.deploy.folder import check_data, open_model_folder
from midas.deploy.parity import verify
from midas.deploy.runtimes import run_torch
from midas.deploy.variants import judge, spread, write_variant
from midas.genotype import load_genotype
from midas.runs import files
from midas.runs.errors import ExportError

MODEL, PARITY, PREDICT = "model.onnx", "parity.json", "predict.py"
_UNPROVED = ".export-"  # the folder in which files wait for their proof
VARIANTS = "variants"  # a folder: DVC cannot track a file that may be missing, and warns of a folder that is empty
ABOUT_VARIANTS = """Smaller files beside model.onnx, each with the same input and output, that were good enough to be shipped.
Which were tried and what they lost on the validation images: parity.json. They are asked for by export.variants.
"""


def ship(
    folder: Path, config: ExportConfig, split: Split, meta: DataMeta, version: str, training: Tensor | None = None
) -> dict[str, Any]:
    """Write model.onnx, parity.json, variants/ and predict.py into a model folder; only what holds is left there.

    Args:
        folder: models/NAME as the build stage left it.
        config: what to export and how equal it must be.
        split: the images on which files and network are compared.
        meta: the data's classes, size and statistics.
        version: this package's version, for the file's metadata.
        training: training images uint8 [N, 3, H, W], on some of which int8 is calibrated.

    Returns:
        What parity.json holds; its `variants` say of each whether it was shipped and what it lost.

    Raises:
        ModelFolderError: the folder is incomplete, contradicts itself, or is of other data.
        ExportError: the network cannot be exported, or the file is not equal to it.
    """
    if "int8" in config.variants and (training is None or len(training) == 0):
        raise ExportError(f"{folder}: int8 needs training images to calibrate on; run the data stage again")
    calibration = split.images[:0] if training is None else spread(training, config.calibration_images)
    model, description = open_model_folder(folder)
    check_data(folder, description, meta)
    for name in (MODEL, PARITY):  # a file of an earlier network must not outlive a failure
        (folder / name).unlink(missing_ok=True)
    for old in (folder / VARIANTS, *folder.glob(f"{_UNPROVED}*")):  # the latter of runs that were killed
        shutil.rmtree(old, ignore_errors=True)
    interface = config.interface(meta.mean, meta.std)
    channels, height, width = description["pretrained_cfg"]["input_size"]
    genotype = load_genotype(folder / "genotype.json")
    written: dict[str, Any] = {
        "input_size": (channels, height, width),
        "metadata": describe(description, genotype.hash, version, interface),
        "opset": config.opset,
    }
    images, fed = normalise(split.images, meta.mean, meta.std), interface.feed(split.images)
    with tempfile.TemporaryDirectory(prefix=_UNPROVED, dir=folder) as name:
        unproved = Path(name)
        export_onnx(model, unproved / MODEL, interface=interface, **written)
        parity = verify(model, unproved / MODEL, images, config.tolerance, interface, fed, second=config.second_runtime)
        files.write_text(unproved / VARIANTS / "README.md", ABOUT_VARIANTS)
        if config.variants:
            expected = interface.expect(run_torch(model, images, 64))
            parity["variants"] = {}
        for kind in config.variants:
            path = unproved / VARIANTS / f"model.{kind}.onnx"
            write_variant(kind, path, model, unproved / MODEL, interface, calibration, **written)
            found = judge(path, expected, split, interface)
            # counts of images make both sides, so a loss of exactly the limit must not fail by a rounding
            shipped = found["finite"] and found["accuracy_loss"] <= config.max_accuracy_loss + 1e-9
            if not shipped:
                path.unlink()
            parity["variants"][kind] = {**found, "shipped": shipped}
        files.move(unproved / VARIANTS, folder / VARIANTS)
        files.move(unproved / MODEL, folder / MODEL)
    files.write_json(folder / PARITY, parity)
    files.write_bytes(folder / PREDICT, Path(predict.__file__).read_bytes())
    return parity


def find_variants(folder: Path) -> dict[str, Path]:
    """The variants that a model folder holds, by kind: ``{"int8": models/NAME/variants/model.int8.onnx}``."""
    return {path.name.split(".")[1]: path for path in sorted((folder / VARIANTS).glob("model.*.onnx"))}
