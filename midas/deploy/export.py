"""Export of a network as one ONNX file with its classes and preprocessing in the metadata.

The same network gives the same bytes in every process and folder.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import onnx
import torch
from onnx import helper
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from midas.deploy.calibration import Reject
from midas.deploy.interface import PLAIN, Input, Interface, Output, Triple, Wrapped
from midas.deploy.photograph import take_photographs
from midas.io import files
from midas.io.errors import ExportError, reason

ANSWERS = ("temperature", "threshold")  # what a client needs of a calibration
INPUT = "image"  # the input's name in the graph; the output has the name of its kind
SecondRuntime = Literal["reference", "openvino"]


class ExportConfig(BaseModel):
    """How a network is exported, and how closely the file must agree with it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    opset: int = Field(default=20, ge=18, le=23)  # torch's exporter writes none below 18
    tolerance: float = Field(default=1e-4, gt=0, le=1)  # of a logit, as a fraction of their range
    input: Input = "float32"
    output: Output = "logits"
    dynamic_size: bool = False
    reject: Reject | None = None  # when to answer "unknown"
    variants: tuple[Literal["fp16", "int8"], ...] = ()  # smaller files, shipped if they lose little
    max_accuracy_loss: float = Field(default=0.01, ge=0, le=1)  # of a variant, on validation data
    calibration_images: int = Field(default=512, ge=1)  # training images for the ranges of int8
    second_runtime: SecondRuntime = "reference"  # computes a few images again

    @model_validator(mode="after")
    def _one_free_size(self) -> "ExportConfig":
        if self.dynamic_size and self.input == "image":
            raise ValueError("dynamic_size has no use with input image, which takes any size")
        return self

    @property
    def needs_training(self) -> bool:
        """Whether an export reads training images."""
        return "int8" in self.variants or self.reject is not None

    def interface(self, mean: Triple, std: Triple, temperature: float = 1.0) -> Interface:
        """The file's interface for data with these statistics."""
        return Interface(mean, std, self.input, self.output, self.dynamic_size, temperature)


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

    The model, in evaluation mode on the CPU, takes images float32 of `input_size` (3, H, W). With
    `half` the file computes in float16.

    Raises:
        ExportError: the model is in training mode or not float32, its images cannot have a free
            size, or the exporter wrote another opset.
    """
    _check_model(model)
    axes = _dynamic_axes(model, interface, input_size)
    plain = (interface.input, interface.output, half) == ("float32", "logits", False)
    # what stands before the network in a file for photographs passes pixels on
    inner = replace(interface, input="uint8-nchw") if interface.input == "image" else interface
    wrapped = model if plain else Wrapped(model, inner, half).eval()
    dtype = torch.float32 if interface.input == "float32" else torch.uint8
    # The exporter would take a batch of one for a constant.
    example = torch.zeros(2, *inner.shape(input_size), dtype=dtype)
    program = torch.onnx.export(
        wrapped,
        (example,),
        dynamo=True,
        opset_version=opset,
        input_names=[INPUT],
        output_names=[interface.output],
        dynamic_shapes=(axes,),
        external_data=False,
        verbose=False,
    )
    assert program is not None  # it is None only where torch writes the file itself
    proto = program.model_proto
    _strip(proto)
    written = {entry.domain: entry.version for entry in proto.opset_import}.get("")
    if written != opset:  # the exporter replaces an opset silently
        raise ExportError(
            f"{path}: torch {torch.__version__} wrote opset {written} in place of {opset}; "
            "change export.opset"
        )
    if interface.input == "image":
        resize = json.loads(metadata["midas_input"])["resize"]
        proto = take_photographs(proto, resize, *input_size[1:], opset=opset)
    write_model(path, proto, metadata)


def write_model(path: Path, proto: Any, metadata: Mapping[str, str]) -> None:
    """Write an ONNX model with these metadata; equal ones give equal bytes.

    It carries the lowest IR version that its opset allows, for the sake of older runtimes.
    """
    proto.ir_version = helper.find_min_ir_version_for(proto.opset_import, ignore_unknown=True)
    del proto.metadata_props[:]
    for key, value in sorted(metadata.items()):
        proto.metadata_props.add(key=key, value=value)
    files.write_bytes(path, proto.SerializeToString(deterministic=True))


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a file; raises ExportError where there is no valid one."""
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's errors and those of the disk have no common class
        problem = f"is not there or not valid ONNX ({reason(error)})"
        raise ExportError(f"{path}: {problem}; run the export stage") from error
    return {entry.key: entry.value for entry in proto.metadata_props}


def read_calibration(metadata: Mapping[str, str]) -> dict[str, float]:
    """Temperature, 1 without any, and threshold if there is one."""
    return {"temperature": 1.0, **json.loads(metadata.get("midas_calibration", "{}"))}


def describe(
    config: Mapping[str, Any],
    genotype_hash: str,
    version: str,
    interface: Interface = PLAIN,
    calibration: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """The metadata that `predict.py` needs, from the config.json of a model folder."""
    image = config["pretrained_cfg"]
    known = {key: calibration[key] for key in ANSWERS if key in calibration} if calibration else {}
    preprocessing = {
        "size": list(image["input_size"]),
        "mean": list(image["mean"]),
        "std": list(image["std"]),
        "resize": int(min(image["input_size"][1:]) / image["crop_pct"]),
        "interpolation": "bilinear",
        "crop": "center",
        "input": interface.input,
        "output": interface.output,
    }
    return {
        "midas_classes": json.dumps(list(config["label_names"]), ensure_ascii=False),
        "midas_input": json.dumps(preprocessing),
        "midas_calibration": json.dumps(known),
        "midas_genotype_hash": genotype_hash,
        "midas_version": version,
    }


def _dynamic_axes(model: nn.Module, interface: Interface, size: Sequence[int]) -> dict[int, Any]:
    axes: dict[int, Any] = {0: "batch"}
    if not interface.dynamic_size:
        return axes
    # One graph serves only those sizes that the network can halve down to its smallest map.
    factor = getattr(model, "feature_info", [{"reduction": 1}])[-1]["reduction"]
    if any(side % factor or side < 2 * factor for side in size[1:]):
        raise ExportError(
            f"export.dynamic_size: images of {size[1]}x{size[2]} cannot have a free size; make "
            f"data.image_size a multiple of {factor}, {2 * factor} or more, or dynamic_size false"
        )
    for axis, name in enumerate(("height", "width"), interface.height_axis):
        axes[axis] = factor * torch.export.Dim(name, min=2)
    return axes


def _check_model(model: nn.Module) -> None:
    if any(module.training for module in model.modules()):
        raise ExportError("export: the model is in training mode; call model.eval()")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ExportError(f"export: {name} is {tensor.dtype}, not float32; call model.float()")


def _strip(message: Any) -> None:
    """Clear documentation and metadata at all levels: stack traces with the machine's paths."""
    for name in ("doc_string", "metadata_props"):
        if name in message.DESCRIPTOR.fields_by_name:
            message.ClearField(name)
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for part in [value] if hasattr(value, "DESCRIPTOR") else value:
                _strip(part)
