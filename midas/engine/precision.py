"""The precision of a training's multiplications."""

from contextlib import AbstractContextManager
from typing import Literal

import torch

Precision = Literal["float32", "tf32", "bfloat16"]


def lower(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """A context for the forward pass: bfloat16 makes it autocast, float32 switches TF32 off."""
    allow_tf32 = precision != "float32"
    torch.backends.cudnn.allow_tf32 = allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allow_tf32
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
