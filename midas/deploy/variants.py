"""Smaller files of the same network: float16 weights, and int8 with ranges calibrated on training images.

A variant is not equal to its network, so it is judged by what it loses on the validation split, and is shipped only if
that is little. int8: static QDQ, per channel, seven bits (`reduce_range`), without which AVX2 saturates.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from midas.data.prepared import Split
from midas.deploy.export import INPUT, Variant, export_onnx
from midas.deploy.interface import Interface
from midas.deploy.parity import check_structure, class_agreement
from midas.deploy.runtimes import run_onnx
from midas.runs import files

_BATCH = 32  # images at a time in calibration and judgement


def write_variant(
    kind: Variant,
    path: Path,
    model: nn.Module,
    plain: Path,
    interface: Interface,
    calibration: Tensor,
    *,
    input_size: tuple[int, int, int],
    metadata: Mapping[str, str],
    opset: int,
) -> None:
    """Write one variant.

    Args:
        kind: ``fp16`` or ``int8``.
        path: the file to write.
        model: the network, in evaluation mode.
        plain: its float32 file, from which int8 is made.
        interface: what the files take and give.
        calibration: training images uint8 [N, 3, H, W] for int8.
        input_size: (3, H, W) of an image.
        metadata: of the file.
        opset: the ONNX operator set.
    """
    if kind == "fp16":
        export_onnx(model, path, input_size=input_size, metadata=metadata, interface=interface, opset=opset, half=True)
    else:
        _quantise(plain, path, interface.feed(calibration), metadata)


def spread(images: Tensor, count: int) -> Tensor:
    """`count` of images [N, ...], evenly over all, since a data set may be sorted by class; all where N is less."""
    return images if len(images) <= count else images[torch.linspace(0, len(images) - 1, count).long()]


def judge(path: Path, expected: Tensor, split: Split, interface: Interface) -> dict[str, Any]:
    """What a variant loses on a split.

    Args:
        path: its file.
        expected: what the network gives for the split's images, [N, classes].
        split: the images and labels.
        interface: what the file takes and gives.

    Returns:
        accuracy, accuracy_loss against the network, class_agreement, finite (all numbers are), bytes, sha256.

    Raises:
        ParityError: the file is not valid or not of the interface.
    """
    check_structure(path, interface, tuple(split.images.shape[1:]))
    got = run_onnx(path, interface.feed(split.images), _BATCH)
    right, of_network = (float((output.argmax(1) == split.labels).double().mean()) for output in (got, expected))
    return {
        "accuracy": right,
        "accuracy_loss": of_network - right,
        "class_agreement": class_agreement(expected, got),
        "finite": bool(got.isfinite().all()),  # float16 may overflow
        "bytes": path.stat().st_size,
        "sha256": files.sha256(path),
    }


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is not typed
    """Batches of images for onnxruntime's calibration."""

    def __init__(self, images: Tensor) -> None:
        self._batches = iter(torch.split(images, _BATCH))

    def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
        """The next batch, or None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch.contiguous().numpy()}


def _quantise(plain: Path, path: Path, images: Tensor, metadata: Mapping[str, str]) -> None:
    """The int8 file of a float32 file."""
    with tempfile.TemporaryDirectory() as folder:
        prepared, raw = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)  # folds batch norms into convolutions
        kept = [node.name for node in onnx.load(str(prepared)).graph.node if node.op_type == "BatchNormalization"]
        quantize_static(
            str(prepared), str(raw), _Reader(images), quant_format=QuantFormat.QDQ, per_channel=True,
            reduce_range=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, nodes_to_exclude=kept,
        )  # fmt: skip
        proto = onnx.load(str(raw))
    del proto.metadata_props[:]
    for key, value in sorted(metadata.items()):
        proto.metadata_props.add(key=key, value=value)
    files.write_bytes(path, proto.SerializeToString(deterministic=True))
