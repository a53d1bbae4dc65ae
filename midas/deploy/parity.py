"""Proof that an ONNX file equals the network it was made from.

The order of the checks is from the outside in: is it ONNX, are its names and axes right, its shapes, its values, its
decisions, and are they the same in a second runtime. The first that fails says by how much.
"""

from pathlib import Path
from typing import Any

import onnx
from torch import Tensor, nn

from midas.deploy.errors import (
    DifferentClasses,
    DifferentRuntimes,
    DifferentValues,
    InvalidFile,
    WrongAxes,
    WrongNames,
    WrongShape,
)
from midas.deploy.export import INPUT
from midas.deploy.interface import PLAIN, Interface
from midas.deploy.predict import keeps_weights_elsewhere
from midas.deploy.runtimes import Second, run_onnx, run_second, run_torch
from midas.runs import files

BATCHES = (1, 2, 7, 32)
SECOND_IMAGES = 2  # computed once more by a second runtime, which may be slow
_BATCH = 64  # images at a time where the batch size does not matter


def verify(
    model: nn.Module,
    path: Path,
    images: Tensor,
    tolerance: float,
    interface: Interface = PLAIN,
    fed: Tensor | None = None,
    second: Second = "reference",
) -> dict[str, Any]:
    """Compare an ONNX file with its network, in the order of `midas.deploy.errors`.

    Args:
        model: the network, in evaluation mode.
        path: the ONNX file.
        images: float32 [N, 3, H, W], normalised; N at least 1.
        tolerance: the largest difference allowed of a logit (or a probability, where the file gives these), as a part
            of the range of the network's.
        interface: what the file takes and gives.
        fed: the same images as the file takes them, where that is not as the network does.
        second: the runtime in which a few images are computed once more.

    Returns:
        What was compared and found, JSON values, without times and paths.

    Raises:
        ParityError: the subclass names the first check that failed.
    """
    if len(images) == 0:
        raise InvalidFile(f"{path}: cannot be verified without images")
    fed = images if fed is None else fed
    proto = check_structure(path, interface, tuple(images.shape[1:]))
    expected = interface.expect(run_torch(model, images, _BATCH))
    span = float(expected.max() - expected.min())
    limit = tolerance * span
    sizes = [size for size in BATCHES if size <= len(images)]
    batches = [_compare_batch(path, fed[:size], expected[:size], limit) for size in sizes]
    if interface.dynamic_size:
        batches.append(_compare_larger(model, path, images[:2], fed[:2], interface, limit))
    got = run_onnx(path, fed, _BATCH)
    difference = largest_difference(expected, got)
    agreement = class_agreement(expected, got)
    if agreement < 1:
        count = round((1 - agreement) * len(images))
        raise DifferentClasses(
            f"{path}: {count} of {len(images)} images get another class; largest logit difference {difference:.3g}",
            difference,
        )
    _check_values(path, difference, limit, f"{len(images)} images")
    once_more = run_second(second, path, fed[:SECOND_IMAGES])
    between = largest_difference(got[:SECOND_IMAGES], once_more)
    if not between <= limit:
        raise DifferentRuntimes(
            f"{path}: {second} and onnxruntime differ by {between:.3g}, {limit:.3g} is allowed (export.tolerance)",
            between,
        )
    return {
        "images": len(images),
        "max_abs_difference": difference,
        "logit_range": span,
        "relative_difference": difference / span if span else 0.0,
        "class_agreement": agreement,
        "tolerance": tolerance,
        "opset": next(entry.version for entry in proto.opset_import if entry.domain == ""),
        "input": interface.input,
        "output": interface.output,
        "batches": batches,
        "second_runtime": {"name": second, "images": len(once_more), "max_abs_difference": between},
        "sha256": files.sha256(path),
        "bytes": path.stat().st_size,
    }


def check_structure(path: Path, interface: Interface, size: tuple[int, ...]) -> Any:
    """The file is valid, in one piece, and has the names and axes of an interface for images of `size` (3, H, W).

    Returns:
        Its protobuf.

    Raises:
        InvalidFile, WrongNames, WrongAxes: in this order.
    """
    proto = _load(path)
    _check_names(path, proto, interface)
    _check_axes(path, proto, interface, size)
    return proto


def largest_difference(expected: Tensor, got: Tensor) -> float:
    """The largest absolute difference of two tensors; infinity where one of them is not finite."""
    difference = (expected - got).abs()
    return float(difference.max()) if bool(difference.isfinite().all()) else float("inf")


def class_agreement(expected: Tensor, got: Tensor) -> float:
    """The part of rows of logits [N, classes] whose largest entry stands in the same place."""
    return float((expected.argmax(1) == got.argmax(1)).double().mean())


def _load(path: Path) -> Any:
    """The file's protobuf: in one piece, and checked by onnx, shapes included."""
    try:
        if keeps_weights_elsewhere(path.read_bytes()):
            raise ValueError("it keeps weights in another file")
        proto = onnx.load(str(path), load_external_data=False)
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # the file system, protobuf and onnx raise errors of nothing in common
        raise InvalidFile(
            f"{path}: is not valid ONNX ({' '.join(str(error).split())[:300]}); run the export stage"
        ) from error
    return proto


def _check_names(path: Path, proto: Any, interface: Interface) -> None:
    """The graph has our one input and our one output."""
    names = ([value.name for value in proto.graph.input], [value.name for value in proto.graph.output])
    if names != ([INPUT], [interface.output]):
        raise WrongNames(
            f"{path}: has inputs {names[0]} and outputs {names[1]}, not [{INPUT!r}] and [{interface.output!r}]"
        )


def _check_axes(path: Path, proto: Any, interface: Interface, size: tuple[int, ...]) -> None:
    """The batch, and nothing else but what the interface leaves free, is free."""
    axes, logit_axes = (
        [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (proto.graph.input[0], proto.graph.output[0])
    )
    batch = axes[0] if axes else None
    if not isinstance(batch, str) or not batch or logit_axes[:1] != [batch] or len(logit_axes) != 2:
        raise WrongAxes(
            f"{path}: has images {axes} and {interface.output} {logit_axes}; both must begin with one dynamic batch"
        )
    wanted = list(interface.shape(size))
    got = axes[1:]
    if interface.dynamic_size:  # height and width have names, the channels a number
        wanted = list(interface.shape((size[0], 0, 0)))
        got = [0 if isinstance(axis, str) and axis else axis for axis in got]
    if got != wanted or not isinstance(logit_axes[1], int):
        raise WrongAxes(
            f"{path}: takes images {axes[1:]} to {interface.output} {logit_axes[1:]}; the images are "
            f"{list(interface.shape(size))}"
        )


def _compare_batch(path: Path, fed: Tensor, expected: Tensor, limit: float) -> dict[str, Any]:
    """Shapes and values at one batch size, from a fresh session."""
    size = len(fed)
    got = run_onnx(path, fed, size)
    if got.shape != expected.shape:
        raise WrongShape(f"{path}: at batch {size} gives logits {list(got.shape)}, the network {list(expected.shape)}")
    difference = largest_difference(expected, got)
    _check_values(path, difference, limit, f"batch {size}")
    return {"batch": size, "max_abs_difference": difference}


def _compare_larger(
    model: nn.Module, path: Path, images: Tensor, fed: Tensor, interface: Interface, limit: float
) -> dict[str, Any]:
    """The same at twice the height and three times the width, for a file that leaves them free."""
    first = 1 if interface.input == "uint8-nhwc" else 2
    larger = images.repeat_interleave(2, 2).repeat_interleave(3, 3)
    expected = interface.expect(run_torch(model, larger, len(larger)))
    got = run_onnx(path, fed.repeat_interleave(2, first).repeat_interleave(3, first + 1), len(fed))
    difference = largest_difference(expected, got)
    _check_values(path, difference, limit, f"size {list(larger.shape[2:])}")
    return {"batch": len(larger), "size": list(larger.shape[2:]), "max_abs_difference": difference}


def _check_values(path: Path, difference: float, limit: float, where: str) -> None:
    """The difference is within the limit."""
    if not difference <= limit:
        raise DifferentValues(
            f"{path}: at {where} a logit differs by {difference:.3g}, {limit:.3g} is allowed (export.tolerance)",
            difference,
        )
