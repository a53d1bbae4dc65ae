"""Smaller files of a network: float16, and int8 with ranges from training images.

int8 is static QDQ, per channel, with seven bits (`reduce_range`); eight would saturate on AVX2.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

from midas.deploy.export import INPUT, write_model


def write_int8(plain: Path, path: Path, images: Tensor, metadata: Mapping[str, str]) -> None:
    """Write the int8 file of the float32 file `plain`, with ranges from images as it takes them."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder, "prepared.onnx")
        quantised = Path(folder, "int8.onnx")
        # This folds batch norms into convolutions; those that remain stay float32.
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        nodes = onnx.load(str(prepared)).graph.node
        quantize_static(
            str(prepared),
            str(quantised),
            _Reader(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[n.name for n in nodes if n.op_type == "BatchNormalization"],
        )
        proto = onnx.load(str(quantised))
    write_model(path, proto, metadata)


def evenly_spaced(images: Tensor, count: int) -> Tensor:
    """At most `count` of images [N, ...], evenly over all, since a data set may be sorted."""
    if len(images) <= count:
        return images
    return images[torch.linspace(0, len(images) - 1, count).long()]


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is not typed
    """Batches of images for onnxruntime's calibration."""

    def __init__(self, images: Tensor) -> None:
        self._batches = iter(torch.split(images, 32))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch.contiguous().numpy()}
