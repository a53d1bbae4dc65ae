"""Every s-th pixel of a map, with a gradient that keeps the channels_last layout.

The gradient of a plain slice is a map in the default layout; mixed with channels_last maps it makes every operation
behind it several times slower.
"""

from typing import Any, cast

import torch
from torch import Tensor


def subsample(x: Tensor, stride: int, offset: int = 0) -> Tensor:
    """Rows and columns offset, offset + stride, ...: [B, C, H, W] to [B, C, ceil((H - offset) / stride), ...]."""
    # not in its stub; TorchScript reads the mark, which must end the line
    if torch.jit.is_scripting():  # type: ignore[attr-defined]
        return x[:, :, offset::stride, offset::stride]
    else:  # noqa: RET505 - TorchScript leaves out an `else` alone
        return _eager(x, stride, offset)


@torch.jit.unused
def _eager(x: Tensor, stride: int, offset: int) -> Tensor:
    """The slice, with our gradient where one is taken."""
    # `type` rather than `isinstance`: whatever traces the network for export sees the plain slice
    if type(x) is Tensor and x.requires_grad and torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return cast(Tensor, _Subsample.apply(x, stride, offset))
    return x[:, :, offset::stride, offset::stride]


class _Subsample(torch.autograd.Function):
    """The slice, made dense, and its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int, offset: int) -> Tensor:
        ctx.shape, ctx.stride, ctx.offset = x.shape, stride, offset
        return x[:, :, offset::stride, offset::stride].contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        batch, channels, height, width = ctx.shape
        full = gradients[0].new_zeros(batch, height, width, channels).permute(0, 3, 1, 2)
        full[:, :, ctx.offset :: ctx.stride, ctx.offset :: ctx.stride] = gradients[0]
        return full, None, None
