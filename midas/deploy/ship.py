"""From a model folder to a folder that can be deployed: a verified model.onnx, the proof, and predict.py."""

import tempfile
from pathlib import Path
from typing import Any

from midas.data.augment import normalise
from midas.data.prepared import DataMeta, Split
from midas.deploy import predict
from midas.deploy.export import ExportConfig, describe, export_onnx
from midas.deploy.folder import check_data, open_model_folder
from midas.deploy.parity import verify
from midas.genotype import load_genotype
from midas.runs import files

MODEL, PARITY, PREDICT = "model.onnx", "parity.json", "predict.py"


def ship(folder: Path, config: ExportConfig, split: Split, meta: DataMeta, version: str) -> dict[str, Any]:
    """Write model.onnx, parity.json and predict.py into a model folder; model.onnx only if it was proved equal.

    Args:
        folder: models/NAME as the build stage left it.
        config: opset and tolerance.
        split: the images on which file and network are compared.
        meta: the data's classes, size and statistics.
        version: this package's version, for the file's metadata.

    Returns:
        What parity.json holds.

    Raises:
        ModelFolderError: the folder is incomplete, contradicts itself, or is of other data.
        ExportError: the network cannot be exported, or the file is not equal to it.
    """
    model, description = open_model_folder(folder)
    check_data(folder, description, meta)
    for name in (MODEL, PARITY):  # a file of an earlier network must not outlive a failure
        (folder / name).unlink(missing_ok=True)
    metadata = describe(description, load_genotype(folder / "genotype.json").hash, version)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as name:
        unproved = Path(name) / MODEL
        channels, height, width = description["pretrained_cfg"]["input_size"]
        export_onnx(model, unproved, input_size=(channels, height, width), metadata=metadata, opset=config.opset)
        parity = verify(model, unproved, normalise(split.images, meta.mean, meta.std), config.tolerance)
        unproved.replace(folder / MODEL)
    files.write_json(folder / PARITY, parity)
    files.write_bytes(folder / PREDICT, Path(predict.__file__).read_bytes())
    return parity
