"""Depthwise convolutions with a fast backward pass on CPUs.

oneDNN has fast kernels for the forward pass of every depthwise convolution, but not for the backward pass of 5x5 and
dilated ones. Five exact identities lead back to the fast kernels (tests compare each with the plain convolution):

- a convolution of stride s and dilation s (and padding divisible by s) reads only every s-th pixel: it is an undilated
  one of stride 1 on the subsampled map;
- the gradient of the input of a stride-1 convolution is a forward convolution with the flipped kernel;
- the gradient of a dilated kernel is that of an undilated one over the phases of the map, moved into the batch;
- the gradients of the columns of a kernel are those of kernels of fewer columns on shifted maps: up to three are fast;
- zeros below and beside a map change nothing: oneDNN has no fast kernel where the map is smaller than the kernel.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas.spaces.subsample import subsample

COLUMNS = 3  # of a kernel whose gradient is fast


class DepthwiseConv2d(nn.Conv2d):
    """An `nn.Conv2d` with one filter for each channel, no bias, and a map that keeps its size but for the stride.

    Args:
        channels: channels in and out.
        kernel: 3, 5 or 7.
        stride: 1 or 2.
        dilation: 1 or 2.
    """

    def __init__(self, channels: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        padding = dilation * (kernel - 1) // 2
        super().__init__(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, ceil(H / stride), ceil(W / stride)]."""
        # not in its stub; TorchScript reads the mark, which must end the line
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            y: Tensor = self._conv_forward(x, self.weight, self.bias)
            return y
        else:  # noqa: RET505 - TorchScript leaves out an `else` alone
            return self._eager(x)

    @torch.jit.unused
    def _eager(self, x: Tensor) -> Tensor:
        """The plain convolution, or in training one whose backward pass is fast."""
        kernel, stride, dilation = self.kernel_size[0], self.stride[0], self.dilation[0]
        # `type` rather than `isinstance`: a proxy that traces the network for export sees the plain convolution
        if not (self.training and type(x) is Tensor and x.device.type == "cpu" and torch.is_grad_enabled()):
            return super().forward(x)
        if kernel <= COLUMNS and dilation == 1 and min(x.shape[-2:]) >= kernel:  # fast in oneDNN's backward pass, too
            return super().forward(x)
        if torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling() or (stride > 1 and stride != dilation):
            return super().forward(x)
        if stride > 1:
            x, dilation = subsample(x, stride), 1
        return cast(Tensor, _FastBackward.apply(x, self.weight, dilation))


class _FastBackward(torch.autograd.Function):
    """A stride-1 depthwise convolution whose gradients use fast kernels alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return _convolve(x, weight, dilation)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        need_input, need_weight, _ = ctx.needs_input_grad
        return (
            _convolve(gradients[0], weight.flip(2, 3), ctx.dilation) if need_input else None,
            weight_gradient(x, gradients[0], weight, ctx.dilation) if need_weight else None,
            None,
        )


def _convolve(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """The plain convolution that keeps the map's size."""
    padding = dilation * (weight.shape[-1] - 1) // 2
    return F.conv2d(x, weight, None, 1, padding, dilation, weight.shape[0])


def weight_gradient(x: Tensor, gradient: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """The gradient of a stride-1 depthwise kernel.

    Args:
        x: the convolution's input [B, C, H, W].
        gradient: of its output [B, C, H, W].
        weight: the kernel [C, 1, k, k], k odd.
        dilation: d >= 1.

    Returns:
        [C, 1, k, k].
    """
    side = weight.shape[-1]
    padding = (side - 1) // 2
    x, gradient = (_at_least(side, _phases(maps, dilation)) for maps in (x, gradient))
    if side <= COLUMNS:
        return _weight_gradient(x, gradient, weight, (padding, padding))
    parts = []
    for start in range(0, side, COLUMNS):
        columns = weight[..., start : start + COLUMNS]
        left = padding - start  # below 0 it cuts columns off
        shifted = _pad(x, (left, columns.shape[-1] - 1 - left, 0, 0))
        parts.append(_weight_gradient(shifted, gradient, columns, (padding, 0)))
    return torch.cat(parts, dim=-1)


def _weight_gradient(x: Tensor, gradient: Tensor, weight: Tensor, padding: tuple[int, int]) -> Tensor:
    """oneDNN's own, of a kernel [C, 1, rows, columns]."""
    backward, mask = torch.ops.aten.convolution_backward, [False, True, False]
    groups = weight.shape[0]
    result = backward(gradient, x, weight, None, [1, 1], list(padding), [1, 1], False, [0, 0], groups, mask)
    return cast(Tensor, result[1])


def _pad(x: Tensor, sides: tuple[int, int, int, int]) -> Tensor:
    """`F.pad` of a map [B, C, H, W] that keeps the channels last."""
    return F.pad(x.permute(0, 2, 3, 1), (0, 0, *sides)).permute(0, 3, 1, 2)


def _at_least(side: int, x: Tensor) -> Tensor:
    """A map with zeros below and beside it, so that it has so many rows and columns."""
    rows, columns = max(0, side - x.shape[-2]), max(0, side - x.shape[-1])
    return _pad(x, (0, columns, 0, rows)) if rows or columns else x


def _phases(x: Tensor, d: int) -> Tensor:
    """Every d-th pixel, each phase an image of its own: [B, C, H, W] to [d * d * B, C, ceil(H / d), ceil(W / d)]."""
    if d == 1:
        return x
    rows, columns = -x.shape[-2] % d, -x.shape[-1] % d
    pixels = (_pad(x, (0, columns, 0, rows)) if rows or columns else x).permute(0, 2, 3, 1)
    batch, height, width, channels = pixels.shape
    parted = pixels.reshape(batch, height // d, d, width // d, d, channels)
    phases = parted.permute(2, 4, 0, 1, 3, 5)  # [d, d, B, H/d, W/d, C]
    return phases.reshape(d * d * batch, height // d, width // d, channels).permute(0, 3, 1, 2)
