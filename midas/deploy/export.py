"""A network as one ONNX file that says what it is: dynamic batch, classes and preprocessing in its metadata.

The file takes and gives what `midas.deploy.interface` says; by default normalised floats and logits, as the network.

The same network gives the same bytes in every process and folder. torch's exporter leaves stack traces with the paths
of the exporting machine in the file, a quarter of its size; they are taken out.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from midas.deploy.interface import PLAIN, Input, Interface, Output, Wrapped
from midas.runs import files
from midas.runs.errors import ExportError

INPUT, BATCH = "image", "batch"  # names in the graph; the output has the name of its kind
Variant = Literal["fp16", "int8"]


class ExportConfig(BaseModel):
    """How a network is exported and how equal the file must be.

    Attributes:
        opset: the ONNX operator set; 18 is the least that torch's exporter writes.
        tolerance: the largest logit difference allowed, as a part of the range of the logits.
        input: what the file takes: normalised floats, or pixels that are normalised inside.
        output: what it gives.
        dynamic_size: leave height and width of the images free.
        variants: files of lower precision beside model.onnx, each shipped only if it holds on the validation split.
        max_accuracy_loss: what a variant may lose there, as a part of 1.
        calibration_images: training images that set the ranges of int8.
        second_runtime: what computes a few images once more: onnx's reference evaluator, or OpenVINO (an extra).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    opset: int = Field(default=20, ge=18, le=23)
    tolerance: float = Field(default=1e-4, gt=0, le=1)
    input: Input = "float32"
    output: Output = "logits"
    dynamic_size: bool = False
    variants: tuple[Variant, ...] = ()
    max_accuracy_loss: float = Field(default=0.01, ge=0, le=1)
    calibration_images: int = Field(default=512, ge=1)
    second_runtime: Literal["reference", "openvino"] = "reference"

    def interface(self, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Interface:
        """The file's interface for data of these statistics."""
        return Interface(mean, std, self.input, self.output, self.dynamic_size)


def export_onnx(
    model: nn.Module,
    path: Path,
    *,
    input_size: tuple[int, int, int],
    metadata: Mapping[str, str],
    interface: Interface = PLAIN,
    opset: int = 20,
    half: bool = False,
) -> None:
    """Write a network as one ONNX file, whole or not at all.

    Args:
        model: images float32 [B, 3, H, W] to logits [B, classes]; in evaluation mode, parameters float32, on the CPU.
        path: the file.
        input_size: (3, H, W) of an image.
        metadata: written into the file as it is, e.g. from `describe`.
        interface: what the file takes and gives.
        opset: the ONNX operator set.
        half: weights and arithmetic in float16.

    Raises:
        ExportError: the model is in training mode or not float32, its image size cannot be left free, or the exporter did
            not give the opset.
    """
    _refuse_unfit(model)
    axes = _dynamic_axes(model, interface, input_size)
    if half:
        model = copy.deepcopy(model).half()
    wrapped = model if interface.plain and not half else Wrapped(model, interface, half).eval()
    dtype = torch.float32 if interface.input == "float32" else torch.uint8
    example = torch.zeros(2, *interface.shape(input_size), dtype=dtype)  # a batch of one would be taken for a constant
    program = torch.onnx.export(
        wrapped, (example,), dynamo=True, opset_version=opset, input_names=[INPUT], output_names=[interface.output],
        dynamic_shapes=(axes,), external_data=False, verbose=False,
    )  # fmt: skip
    assert program is not None  # it is None only where torch writes the file itself
    proto = program.model_proto
    _strip(proto)
    for key, value in sorted(metadata.items()):
        proto.metadata_props.add(key=key, value=value)
    got = {entry.domain: entry.version for entry in proto.opset_import}.get("")
    if got != opset:  # where the exporter cannot write an opset, it silently writes another
        raise ExportError(
            f"{path}: opset {opset} was asked for and torch {torch.__version__} wrote {got}; set export.opset"
        )
    files.write_bytes(path, proto.SerializeToString(deterministic=True))


def describe(
    config: Mapping[str, Any], genotype_hash: str, version: str, interface: Interface = PLAIN
) -> dict[str, str]:
    """The metadata with which a file can be used without anything else; `predict.py` reads it.

    Args:
        config: a model folder's config.json: label_names, and in pretrained_cfg input_size, mean, std, crop_pct.
        genotype_hash: hash of the network's genotype.
        version: this package's version.
        interface: what the file takes and gives.
    """
    image = config["pretrained_cfg"]
    preprocessing = {
        "size": list(image["input_size"]),
        "mean": list(image["mean"]),
        "std": list(image["std"]),
        "resize": int(min(image["input_size"][1:]) / image["crop_pct"]),  # of the shorter side, before the crop
        "interpolation": "bilinear",
        "crop": "center",
        "input": interface.input,
        "output": interface.output,
    }
    return {
        "midas_classes": json.dumps(list(config["label_names"]), ensure_ascii=False),
        "midas_input": json.dumps(preprocessing),
        "midas_genotype_hash": genotype_hash,
        "midas_version": version,
    }


def _dynamic_axes(model: nn.Module, interface: Interface, input_size: Sequence[int]) -> dict[int, Any]:
    """The free axes of the input: the batch, and where the interface says so height and width."""
    axes: dict[int, Any] = {0: BATCH}
    if interface.dynamic_size:  # maps are halved to this factor, so that only its multiples give one graph for all
        maps: list[dict[str, Any]] = getattr(model, "feature_info", [{"reduction": 1}])
        factor = maps[-1]["reduction"]
        if any(side % factor or side < 2 * factor for side in input_size[1:]):
            raise ExportError(
                f"export.dynamic_size: images of {input_size[1]}x{input_size[2]} cannot stand for all sizes, since maps are halved "
                f"to 1/{factor}; make data.image_size a multiple of {factor}, {2 * factor} or more, or dynamic_size false"
            )
        first = 1 if interface.input == "uint8-nhwc" else 2
        for axis, name in ((first, "height"), (first + 1, "width")):
            axes[axis] = factor * torch.export.Dim(name, min=2)
    return axes


def _refuse_unfit(model: nn.Module) -> None:
    """Raise ExportError for a model whose file could not equal it."""
    if any(module.training for module in model.modules()):
        raise ExportError(
            "export: the model is in training mode, where batch norm and dropout differ; call model.eval()"
        )
    tensors: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ExportError(f"export: {name} is {tensor.dtype}, not torch.float32; call model.float()")


def _strip(message: Any) -> None:
    """Clear documentation and metadata of a protobuf message and of everything in it."""
    for name in ("doc_string", "metadata_props"):
        if name in message.DESCRIPTOR.fields_by_name:
            message.ClearField(name)
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for part in [value] if hasattr(value, "DESCRIPTOR") else value:
                _strip(part)
