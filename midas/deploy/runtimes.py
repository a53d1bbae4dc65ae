"""The same images in torch, in onnxruntime, and in a second, independent runtime of ONNX files."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from midas.deploy import predict
from midas.deploy.export import INPUT, SecondRuntime
from midas.io.errors import ExportError, reason

THREADS = 2  # fixed: the results must not depend on the number of cores


class ParityError(ExportError):
    """An ONNX file cannot be computed, or differs from its network by `difference` in a logit."""

    def __init__(self, text: str, difference: float = float("inf")) -> None:
        super().__init__(text)
        self.difference = difference


def run_torch(model: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    """Logits [N, classes] of a network for images float32 [N, 3, H, W]; sets evaluation mode."""
    model.eval()
    batches = torch.split(images, batch_size)
    with torch.inference_mode():
        return torch.cat([model(b.contiguous(memory_format=torch.channels_last)) for b in batches])


def run_onnx(path: Path, images: Tensor, batch_size: int) -> Tensor:
    """The output [N, classes] of a file in onnxruntime, or ParityError; images as it takes them."""
    session = open_session(path, THREADS)
    batches = torch.split(images, batch_size)
    outputs = [session.run(None, _inputs(batch))[0] for batch in batches]
    return torch.from_numpy(np.concatenate(outputs))


def open_session(path: Path, threads: int) -> Any:
    """An ONNX file in onnxruntime on the CPU, or an ParityError."""
    try:
        return predict.open_session(path, threads)
    except predict.PredictError as error:
        raise ParityError(f"{error}; run the export stage") from error


def run_second(runtime: SecondRuntime, path: Path, images: Tensor) -> Tensor:
    """The output in OpenVINO or in onnx's own evaluator (plain numpy, slow), in one batch.

    ExportError where OpenVINO is not installed, ParityError where the file cannot be computed.
    """
    try:
        if runtime == "openvino":
            return _run_openvino(path, images)
        return torch.from_numpy(ReferenceEvaluator(str(path)).run(None, _inputs(images))[0])
    except ImportError as error:
        raise ExportError(
            "export.second_runtime: openvino is not installed; run `pip install openvino`"
        ) from error
    except Exception as error:  # the errors of the runtimes have no common class
        raise ParityError(
            f"{path}: the second runtime, {runtime}, cannot compute it ({reason(error)})"
        ) from error


def _run_openvino(path: Path, images: Tensor) -> Tensor:
    import openvino

    precision = {"INFERENCE_PRECISION_HINT": "f32"}  # some processors would compute in bfloat16
    compiled = openvino.Core().compile_model(str(path), "CPU", precision)
    return torch.from_numpy(np.array(compiled(_inputs(images))[0]))


def _inputs(images: Tensor) -> dict[str, np.ndarray]:
    return {INPUT: images.contiguous().numpy()}
