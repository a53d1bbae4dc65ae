"""How exactly a training multiplies: in float32, or with fewer bits where the hardware is faster so."""

from contextlib import AbstractContextManager
from typing import Literal

import torch

Precision = Literal["float32", "tf32", "bfloat16"]


def lower(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Allow TF32 on NVIDIA GPUs from now on, or not; and a context for the forward pass, which bfloat16 makes autocast.

    Weights, gradients and the optimiser stay in float32 whatever is chosen. On a CPU, TF32 means nothing, and bfloat16 is
    many times slower where the processor has no instructions for it.

    Args:
        precision: `float32` switches off TF32, which torch leaves on for convolutions.
        device: that computes.
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision != "float32"
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
