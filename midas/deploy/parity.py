"""Verification that an ONNX file computes what its network computes.

The checks go from the outside in: file, names, axes, shape, values, classes, second runtime.
"""

from pathlib import Path
from typing import Any

import onnx
from torch import Tensor, nn

from midas.deploy.export import INPUT, SecondRuntime
from midas.deploy.interface import PLAIN, Interface
from midas.deploy.predict import EXTERNAL_WEIGHTS
from midas.deploy.runtimes import ParityError, run_onnx, run_second, run_torch
from midas.io import files
from midas.io.errors import reason

BATCH = 64  # images at a time where the batch size does not matter
BATCHES = (1, 2, 7, 32)
SECOND_IMAGES = 2  # few, because the second runtime may be slow


def verify(
    model: nn.Module,
    path: Path,
    images: Tensor,
    tolerance: float,
    interface: Interface = PLAIN,
    inputs: Tensor | None = None,
    second: SecondRuntime = "reference",
) -> dict[str, Any]:
    """Compare an ONNX file with its network; return what was compared, for parity.json.

    `images` float32 [N, 3, H, W] are normalised; `inputs`, by default `images`, are the same as the
    file takes them. The tolerance is for the largest difference of an output (a logit or a
    probability), as a fraction of the range of the network's. The first check that fails raises
    ParityError; the runtime `second` computes a few images again.
    """
    if len(images) == 0:
        raise ParityError(f"{path}: cannot be verified without images")
    inputs = images if inputs is None else inputs
    proto = check_structure(path, interface, tuple(images.shape[1:]))
    expected = interface.expected_output(run_torch(model, images, BATCH))
    limit = tolerance * float(expected.max() - expected.min())
    sizes = [size for size in BATCHES if size <= len(images)]
    batches = [_compare(path, inputs[:size], expected[:size], limit) for size in sizes]
    if interface.dynamic_size:
        larger = _enlarge(images[:2], 2)
        larger_inputs = _enlarge(inputs[:2], interface.height_axis)
        larger_output = interface.expected_output(run_torch(model, larger, BATCH))
        entry = _compare(path, larger_inputs, larger_output, limit)
        batches.append({**entry, "size": list(larger.shape[2:])})
    actual = run_onnx(path, inputs, BATCH)
    compared = compare(path, expected, actual, tolerance, "images")
    output = run_second(second, path, inputs[:SECOND_IMAGES])
    difference = largest_difference(actual[:SECOND_IMAGES], output)
    where = f"{path}: between onnxruntime and {second}"
    _check_values(where, difference, limit)
    checked_again = {"name": second, "images": len(output), "max_abs_difference": difference}
    return {
        "images": len(images),
        **compared,
        "tolerance": tolerance,
        "opset": next(entry.version for entry in proto.opset_import if entry.domain == ""),
        "input": interface.input,
        "output": interface.output,
        "batches": batches,
        "second_runtime": checked_again,
        "sha256": files.sha256(path),
        "bytes": path.stat().st_size,
    }


def check_structure(path: Path, interface: Interface, size: tuple[int, ...]) -> Any:
    """Check that a file is valid and has the names and axes of an interface; return its protobuf.

    `size` is (3, H, W) of an image. Raises ParityError.
    """
    try:
        if EXTERNAL_WEIGHTS.search(path.read_bytes()):
            raise ValueError("it keeps weights in another file")
        proto = onnx.load(str(path), load_external_data=False)
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # those of the file system, protobuf and onnx have no common class
        raise ParityError(
            f"{path}: is not valid ONNX ({reason(error)}); run the export stage"
        ) from error
    inputs = [value.name for value in proto.graph.input]
    outputs = [value.name for value in proto.graph.output]
    if inputs != [INPUT] or outputs != [interface.output]:
        raise ParityError(
            f"{path}: has inputs {inputs} and outputs {outputs}, "
            f"not [{INPUT!r}] and [{interface.output!r}]"
        )
    _check_axes(path, proto.graph, interface, size)
    return proto


def compare(
    path: Path, expected: Tensor, actual: Tensor, tolerance: float, images: str
) -> dict[str, float]:
    """How far two outputs [N, classes] agree; ParityError if too little."""
    difference = largest_difference(expected, actual)
    span = float(expected.max() - expected.min())
    if count := int((expected.argmax(1) != actual.argmax(1)).sum()):
        raise ParityError(
            f"{path}: {count} of {len(expected)} {images} get another class than from the network; "
            f"largest logit difference {difference:.3g}",
            difference,
        )
    where = f"{path}: on {len(expected)} {images}"
    _check_values(where, difference, tolerance * span)
    return {
        "max_abs_difference": difference,
        "logit_range": span,
        "relative_difference": difference / span if span else 0.0,
        "class_agreement": class_agreement(expected, actual),
    }


def largest_difference(expected: Tensor, actual: Tensor) -> float:
    """The largest absolute difference of two tensors; infinity where a number is not finite."""
    difference = (expected - actual).abs()
    return float(difference.max()) if bool(difference.isfinite().all()) else float("inf")


def class_agreement(expected: Tensor, actual: Tensor) -> float:
    """The fraction of images that get the same class from two outputs [N, classes]."""
    return float((expected.argmax(1) == actual.argmax(1)).double().mean())


def _check_values(where: str, difference: float, limit: float) -> None:
    if not difference <= limit:  # also where the limit is not a number
        allowed = f"{limit:.3g} is allowed (export.tolerance)"
        raise ParityError(f"{where} a logit differs by {difference:.3g}; {allowed}", difference)


def _check_axes(path: Path, graph: Any, interface: Interface, size: tuple[int, ...]) -> None:
    """Check that the batch is free, and of the other axes only those of the interface."""
    image_axes, output_axes = (  # a name where an axis is free, else its size
        [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (graph.input[0], graph.output[0])
    )
    batch = image_axes[0] if image_axes else None
    if not isinstance(batch, str) or output_axes[:1] != [batch] or len(output_axes) != 2:
        raise ParityError(
            f"{path}: has images {image_axes} and {interface.output} {output_axes}; "
            "both must begin with the same dynamic batch"
        )
    free = interface.free_size  # height and width must have names, the channels a number
    expected = interface.shape((size[0], 0, 0) if free else size)
    actual = tuple(0 if free and isinstance(axis, str) else axis for axis in image_axes[1:])
    if actual != expected or not isinstance(output_axes[1], int):
        raise ParityError(
            f"{path}: takes images {image_axes[1:]} to {interface.output} {output_axes[1:]}; "
            f"the images are {list(interface.shape(size))}"
        )


def _compare(path: Path, inputs: Tensor, expected: Tensor, limit: float) -> dict[str, Any]:
    """Check shape and values of the output for one batch; return an entry of parity.json."""
    actual = run_onnx(path, inputs, len(inputs))
    where = f"{path}: for the input {list(inputs.shape)}"
    if actual.shape != expected.shape:
        raise ParityError(
            f"{where} it returns logits {list(actual.shape)}, the network {list(expected.shape)}"
        )
    difference = largest_difference(expected, actual)
    _check_values(where, difference, limit)
    return {"batch": len(inputs), "max_abs_difference": difference}


def _enlarge(images: Tensor, height_axis: int) -> Tensor:
    """Images of twice the height and three times the width, for a file that leaves them free."""
    return images.repeat_interleave(2, height_axis).repeat_interleave(3, height_axis + 1)
