"""The same images through torch, onnxruntime, and a second, unrelated runtime of ONNX files."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from midas.deploy.errors import InvalidFile
from midas.deploy.export import INPUT
from midas.deploy.predict import keeps_weights_elsewhere
from midas.runs.errors import ExportError

THREADS = 2  # fixed, so that another number of cores does not change a digit of what is written
Second = Literal["reference", "openvino"]
Run = Callable[[Tensor], Tensor]


def run_torch(model: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    """Logits [N, classes] of a network in evaluation mode for images float32 [N, 3, H, W]."""
    model.eval()
    with torch.inference_mode():
        parts = [model(part.contiguous(memory_format=torch.channels_last)) for part in torch.split(images, batch_size)]
    return torch.cat(parts)


def run_onnx(path: Path, images: Tensor, batch_size: int) -> Tensor:
    """What an ONNX file gives, float32 [N, classes], by onnxruntime on the CPU, for images as it takes them.

    Raises:
        InvalidFile: onnxruntime cannot load the file.
    """
    run = _onnxruntime(path)
    return torch.cat([run(part) for part in torch.split(images, batch_size)])


def run_second(runtime: Second, path: Path, images: Tensor) -> Tensor:
    """The same from onnx's own evaluator (slow, plain numpy), or from OpenVINO.

    Raises:
        ExportError: OpenVINO is asked for and not installed.
        InvalidFile: the runtime cannot load or compute the file.
    """
    try:
        return (_openvino if runtime == "openvino" else _reference)(path)(images)
    except ImportError as error:
        raise ExportError(
            "export.second_runtime: openvino is not installed; pip install openvino, or set it to reference"
        ) from error
    except Exception as error:  # neither runtime has a common class for what it raises
        raise InvalidFile(f"{path}: the second runtime, {runtime}, cannot compute it ({_line(error)})") from error


def _onnxruntime(path: Path) -> Run:
    """The file as a function of images."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors are raised as well
    options.intra_op_num_threads = THREADS
    try:
        if keeps_weights_elsewhere(data := path.read_bytes()):
            raise ValueError("it keeps weights in another file")
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"], enable_fallback=False)
    except Exception as error:  # onnxruntime has no common class for what it raises
        raise InvalidFile(f"{path}: onnxruntime cannot load it ({_line(error)}); run the export stage") from error
    return lambda images: torch.from_numpy(session.run(None, {INPUT: images.contiguous().numpy()})[0])


def _reference(path: Path) -> Run:
    evaluator = ReferenceEvaluator(str(path))
    return lambda images: torch.from_numpy(np.asarray(evaluator.run(None, {INPUT: images.contiguous().numpy()})[0]))


def _openvino(path: Path) -> Run:
    import openvino

    core = openvino.Core()
    # its default on some processors is bfloat16
    compiled = core.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: torch.from_numpy(compiled({INPUT: images.contiguous().numpy()})[0].copy())


def _line(error: Exception) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
