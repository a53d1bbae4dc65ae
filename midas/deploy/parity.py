"""Proof that an ONNX file equals the network it was made from.

The order of the checks is from the outside in: is it ONNX, are its names and axes right, its shapes, its values, its
decisions. The first that fails says by how much.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from midas.deploy.export import INPUT, OUTPUT
from midas.runs import files
from midas.runs.errors import ExportError

BATCHES = (1, 2, 7, 32)
THREADS = 2  # fixed, so that another number of cores does not change a digit of what is written
_BATCH = 64  # images at a time where the batch size does not matter


class ParityError(ExportError):
    """An ONNX file is not equal to its network.

    Attributes:
        difference: the largest absolute difference of a logit, or infinity where it was not come to compare logits.
    """

    def __init__(self, text: str, difference: float = float("inf")) -> None:
        super().__init__(text)
        self.difference = difference


class InvalidFile(ParityError):
    """The file is not valid ONNX in one piece."""


class WrongNames(ParityError):
    """Inputs or outputs have other names."""


class WrongAxes(ParityError):
    """The batch is not dynamic, or another axis is."""


class WrongShape(ParityError):
    """Logits have another shape."""


class DifferentValues(ParityError):
    """Logits differ by more than the tolerance."""


class DifferentClasses(ParityError):
    """An image is given another class."""


def verify(model: nn.Module, path: Path, images: Tensor, tolerance: float) -> dict[str, Any]:
    """Compare an ONNX file with its network, in the order of this module's errors.

    Args:
        model: the network, in evaluation mode.
        path: the ONNX file.
        images: float32 [N, 3, H, W], normalised; N at least 1.
        tolerance: the largest difference of a logit allowed, as a part of the range of the network's logits.

    Returns:
        What was compared and found, JSON values, without times and paths.

    Raises:
        ParityError: the subclass names the first check that failed.
    """
    if len(images) == 0:
        raise InvalidFile(f"{path}: cannot be verified without images")
    proto = _load(path)
    _check_names(path, proto)
    _check_axes(path, proto, tuple(images.shape[1:]))
    expected = run_torch(model, images, _BATCH)
    span = float(expected.max() - expected.min())
    limit = tolerance * span
    batches = [_compare_batch(model, path, images[:size], limit) for size in BATCHES if size <= len(images)]
    got = run_onnx(path, images, _BATCH)
    difference = largest_difference(expected, got)
    agreement = class_agreement(expected, got)
    if agreement < 1:
        count = round((1 - agreement) * len(images))
        raise DifferentClasses(
            f"{path}: {count} of {len(images)} images get another class; largest logit difference {difference:.3g}",
            difference,
        )
    _check_values(path, difference, limit, f"{len(images)} images")
    return {
        "images": len(images),
        "max_abs_difference": difference,
        "logit_range": span,
        "relative_difference": difference / span if span else 0.0,
        "class_agreement": agreement,
        "tolerance": tolerance,
        "opset": next(entry.version for entry in proto.opset_import if entry.domain == ""),
        "batches": batches,
        "sha256": files.sha256(path),
        "bytes": path.stat().st_size,
    }


def run_torch(model: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    """Logits [N, classes] of a network in evaluation mode for images float32 [N, 3, H, W]."""
    model.eval()
    with torch.inference_mode():
        parts = [model(part.contiguous(memory_format=torch.channels_last)) for part in _parts(images, batch_size)]
    return torch.cat(parts)


def run_onnx(path: Path, images: Tensor, batch_size: int) -> Tensor:
    """Logits [N, classes] of an ONNX file, by onnxruntime on the CPU, for images float32 [N, 3, H, W].

    Raises:
        InvalidFile: onnxruntime cannot load the file.
    """
    run = _session(path)
    return torch.cat([run(part) for part in _parts(images, batch_size)])


def largest_difference(expected: Tensor, got: Tensor) -> float:
    """The largest absolute difference of two tensors; infinity where one of them is not finite."""
    difference = (expected - got).abs()
    return float(difference.max()) if bool(difference.isfinite().all()) else float("inf")


def class_agreement(expected: Tensor, got: Tensor) -> float:
    """The part of rows of logits [N, classes] whose largest entry stands in the same place."""
    return float((expected.argmax(1) == got.argmax(1)).double().mean())


def _parts(images: Tensor, batch_size: int) -> list[Tensor]:
    """Images [N, 3, H, W] in parts of `batch_size`, the last one perhaps smaller."""
    return [images[start : start + batch_size] for start in range(0, len(images), batch_size)]


def _session(path: Path) -> Callable[[Tensor], Tensor]:
    """The ONNX file as a function of images."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = THREADS
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common class for what it raises
        raise InvalidFile(
            f"{path}: onnxruntime cannot load it ({' '.join(str(error).split())}); run the export stage"
        ) from error
    return lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.contiguous().numpy()})[0])


def _load(path: Path) -> Any:
    """The file's protobuf: in one piece, and checked by onnx, shapes included."""
    try:
        proto = onnx.load(str(path), load_external_data=False)
        if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in proto.graph.initializer):
            raise ValueError("it keeps weights in another file")
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # the file system, protobuf and onnx raise errors of nothing in common
        raise InvalidFile(
            f"{path}: is not valid ONNX ({' '.join(str(error).split())[:300]}); export it again"
        ) from error
    return proto


def _check_names(path: Path, proto: Any) -> None:
    """The graph has our one input and our one output."""
    names = ([value.name for value in proto.graph.input], [value.name for value in proto.graph.output])
    if names != ([INPUT], [OUTPUT]):
        raise WrongNames(f"{path}: has inputs {names[0]} and outputs {names[1]}, not [{INPUT!r}] and [{OUTPUT!r}]")


def _check_axes(path: Path, proto: Any, image: tuple[int, ...]) -> None:
    """The batch, and nothing else, is free."""
    image_axes, logit_axes = (
        [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (proto.graph.input[0], proto.graph.output[0])
    )
    batch = image_axes[0] if image_axes else None
    if not isinstance(batch, str) or not batch or logit_axes[:1] != [batch] or len(logit_axes) != 2:
        raise WrongAxes(
            f"{path}: has images {image_axes} and logits {logit_axes}; both must begin with one dynamic batch"
        )
    if tuple(image_axes[1:]) != image or not isinstance(logit_axes[1], int):
        raise WrongAxes(
            f"{path}: takes images {image_axes[1:]} to logits {logit_axes[1:]}; the images are {list(image)}"
        )


def _compare_batch(model: nn.Module, path: Path, images: Tensor, limit: float) -> dict[str, Any]:
    """Shapes and values at one batch size, from a fresh session."""
    size = len(images)
    expected, got = run_torch(model, images, size), run_onnx(path, images, size)
    if got.shape != expected.shape:
        raise WrongShape(f"{path}: at batch {size} gives logits {list(got.shape)}, the network {list(expected.shape)}")
    difference = largest_difference(expected, got)
    _check_values(path, difference, limit, f"batch {size}")
    return {"batch": size, "max_abs_difference": difference}


def _check_values(path: Path, difference: float, limit: float, where: str) -> None:
    """The difference is within the limit."""
    if not difference <= limit:
        raise DifferentValues(
            f"{path}: at {where} a logit differs by {difference:.3g}, {limit:.3g} is allowed (export.tolerance)",
            difference,
        )
