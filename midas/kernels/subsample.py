"""Every s-th pixel of a map, with a gradient in channels_last memory.

The gradient of a plain slice is in default memory, which slows every operation behind it.
"""

from typing import Any, cast

import torch
from torch import Tensor


def subsample(x: Tensor, stride: int, offset: int = 0) -> Tensor:
    """Take rows and columns offset, offset + stride, ... of a map [B, C, H, W]."""
    # midas/kernels/depthwise.py explains the marks
    if torch.jit.is_scripting():  # type: ignore[attr-defined]
        return x[:, :, offset::stride, offset::stride]
    else:  # noqa: RET505
        return _eager(x, stride, offset)


def _eager(x: Tensor, stride: int, offset: int) -> Tensor:
    # `type` rather than `isinstance`: tracers for export must see the plain slice
    learns = type(x) is Tensor and x.requires_grad and torch.is_grad_enabled()
    if learns and not torch.compiler.is_compiling():
        return cast(Tensor, _Subsample.apply(x, stride, offset))
    return x[:, :, offset::stride, offset::stride]


class _Subsample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int, offset: int) -> Tensor:
        ctx.shape = x.shape
        ctx.pixels = slice(offset, None, stride)
        return x[:, :, ctx.pixels, ctx.pixels].contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        batch, channels, height, width = ctx.shape
        grad_x = gradients[0].new_zeros(batch, height, width, channels).permute(0, 3, 1, 2)
        grad_x[:, :, ctx.pixels, ctx.pixels] = gradients[0]
        return grad_x, None, None
