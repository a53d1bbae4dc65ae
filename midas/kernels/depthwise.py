"""Depthwise convolutions whose backward pass is fast on CPUs.

oneDNN has fast kernels for the forward pass of every depthwise convolution, but not for the
backward pass of 5x5, 7x7 and dilated ones. Five identities lead back to the fast kernels:

- With stride and dilation s, and a padding that s divides, only every s-th pixel is read.
- The gradient by the input, at stride 1, is a convolution with the flipped kernel.
- The gradient by a dilated kernel is one by an undilated kernel over the map's phases as a batch.
- The gradient by some columns of a kernel is one by a narrower kernel on a shifted map.
- Zeros below and beside a map change nothing; oneDNN is slow on maps smaller than the kernel.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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


FAST_COLUMNS = 3  # the widest kernel whose gradient oneDNN computes fast


class DepthwiseConv2d(nn.Conv2d):
    """An `nn.Conv2d` with one filter for each channel, an odd kernel, no bias, "same" padding."""

    def __init__(self, channels: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        padding = dilation * (kernel - 1) // 2
        super().__init__(
            channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, ceil(H / stride), ceil(W / stride)]."""
        # torch's stub lacks is_scripting. TorchScript needs the `else` to leave _eager out.
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            y: Tensor = self._conv_forward(x, self.weight, self.bias)
            return y
        else:  # noqa: RET505
            return self._eager(x)

    def _eager(self, x: Tensor) -> Tensor:
        if not self._needs_fast_backward(x):
            return super().forward(x)
        if self.stride[0] > 1:  # then it equals the dilation
            return cast(Tensor, _FastBackward.apply(subsample(x, self.stride[0]), self.weight, 1))
        return cast(Tensor, _FastBackward.apply(x, self.weight, self.dilation[0]))

    def _needs_fast_backward(self, x: Tensor) -> bool:
        """Whether this is a training pass on a CPU whose backward pass would be slow in oneDNN."""
        kernel = self.kernel_size[0]
        # `type` rather than `isinstance`: tracers for export must see the plain convolution
        return (
            self.training
            and type(x) is Tensor
            and x.device.type == "cpu"
            and torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
            and self.stride[0] in (1, self.dilation[0])
            and (kernel > FAST_COLUMNS or self.dilation[0] > 1 or min(x.shape[-2:]) < kernel)
        )


class _FastBackward(torch.autograd.Function):
    """A depthwise convolution of stride 1 whose gradients use fast kernels only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return _convolve(x, weight, dilation)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        d = ctx.dilation
        need_x, need_weight, _ = ctx.needs_input_grad
        grad_x = _convolve(gradients[0], weight.flip(2, 3), d) if need_x else None
        grad_weight = weight_gradient(x, gradients[0], weight, d) if need_weight else None
        return grad_x, grad_weight, None


def _convolve(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    padding = dilation * (weight.shape[-1] - 1) // 2
    return F.conv2d(x, weight, None, 1, padding, dilation, groups=weight.shape[0])


def weight_gradient(x: Tensor, grad_y: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """The gradient by the kernel [C, 1, k, k] at stride 1, from x and grad_y [B, C, H, W]."""
    side = weight.shape[-1]
    padding = (side - 1) // 2
    x, grad_y = (_at_least(side, _phases(maps, dilation)) for maps in (x, grad_y))
    if side <= FAST_COLUMNS:
        return _onednn_gradient(x, grad_y, weight, [padding, padding])
    parts = []
    for start in range(0, side, FAST_COLUMNS):
        columns = weight[..., start : start + FAST_COLUMNS]
        left = padding - start  # a negative number cuts columns off the map
        shifted = _pad(x, left, columns.shape[-1] - 1 - left)
        parts.append(_onednn_gradient(shifted, grad_y, columns, [padding, 0]))
    return torch.cat(parts, dim=-1)


def _onednn_gradient(x: Tensor, grad_y: Tensor, weight: Tensor, padding: list[int]) -> Tensor:
    """The gradient by a kernel [C, 1, rows, columns] in oneDNN."""
    unit = [1, 1]  # stride and dilation
    only_weight = [False, True, False]
    gradients = torch.ops.aten.convolution_backward(
        grad_y, x, weight, None, unit, padding, unit, False, [0, 0], weight.shape[0], only_weight
    )
    return cast(Tensor, gradients[1])


def _pad(x: Tensor, left: int, right: int, below: int = 0) -> Tensor:
    """Pad a map [B, C, H, W] with zeros; it keeps the channels last, unlike by `F.pad` alone."""
    return F.pad(x.permute(0, 2, 3, 1), (0, 0, left, right, 0, below)).permute(0, 3, 1, 2)


def _at_least(side: int, x: Tensor) -> Tensor:
    """A map with zeros below and beside it, so that it has at least `side` rows and columns."""
    rows, columns = (max(0, side - size) for size in x.shape[-2:])
    return _pad(x, 0, columns, rows) if rows or columns else x


def _phases(x: Tensor, d: int) -> Tensor:
    """Every d-th pixel from each start, as images: to [d * d * B, C, ceil(H / d), ceil(W / d)]."""
    if d == 1:
        return x
    rows, columns = (-size % d for size in x.shape[-2:])
    pixels = (_pad(x, 0, columns, rows) if rows or columns else x).permute(0, 2, 3, 1)
    batch, height, width, channels = pixels.shape
    parts = pixels.reshape(batch, height // d, d, width // d, d, channels)
    phases = parts.permute(2, 4, 0, 1, 3, 5)  # [d, d, B, H/d, W/d, C]
    return phases.reshape(d * d * batch, height // d, width // d, channels).permute(0, 3, 1, 2)
