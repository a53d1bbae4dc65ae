"""Depthwise convolutions with a fast backward pass on CPUs.

oneDNN has fast kernels for the forward pass of every depthwise convolution, but not for the backward pass of 5x5 and
dilated ones. Three exact identities lead back to the fast kernels (tests compare each with the plain convolution):

- a convolution of stride s and dilation s (and padding divisible by s) reads only every s-th pixel: it is an undilated
  one of stride 1 on the subsampled map;
- the gradient of the input of a stride-1 convolution is a forward convolution with the flipped kernel;
- the gradient of a dilated kernel is that of an undilated one over the phases of the map, moved into the batch. This
  costs two copies and pays on small maps only, where oneDNN's own is at its slowest.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas.spaces.subsample import subsample

SMALL_MAP = 64  # pixels


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
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            y: Tensor = self._conv_forward(x, self.weight, self.bias)
            return y
        else:  # noqa: RET505 - TorchScript leaves out an `else` alone
            return self._eager(x)

    @torch.jit.unused
    def _eager(self, x: Tensor) -> Tensor:
        """The plain convolution, or in training one whose backward pass is fast."""
        kernel, stride, dilation = self.kernel_size[0], self.stride[0], self.dilation[0]
        slow = kernel == 5 or dilation > 1  # in oneDNN's backward pass
        # `type` rather than `isinstance`: a proxy that traces the network for export sees the plain convolution
        if not (slow and self.training and type(x) is Tensor and x.device.type == "cpu" and torch.is_grad_enabled()):
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
    if dilation > 1 and x.shape[-2] * x.shape[-1] <= SMALL_MAP:
        x, gradient, dilation = _phases(x, dilation), _phases(gradient, dilation), 1
    padding, mask = dilation * (weight.shape[-1] - 1) // 2, [False, True, False]
    backward = torch.ops.aten.convolution_backward
    result = backward(
        gradient, x, weight, None, [1, 1], [padding] * 2, [dilation] * 2, False, [0, 0], weight.shape[0], mask
    )
    return cast(Tensor, result[1])


def _phases(x: Tensor, d: int) -> Tensor:
    """Every d-th pixel, each phase an image of its own: [B, C, H, W] to [d * d * B, C, ceil(H / d), ceil(W / d)]."""
    pixels = x.permute(0, 2, 3, 1)
    batch, height, width, channels = pixels.shape
    pixels = F.pad(pixels, (0, 0, 0, -width % d, 0, -height % d))
    rows, columns = pixels.shape[1] // d, pixels.shape[2] // d
    parted = pixels.reshape(batch, rows, d, columns, d, channels)  # [B, H/d, d, W/d, d, C]
    return parted.permute(2, 4, 0, 1, 3, 5).reshape(d * d * batch, rows, columns, channels).permute(0, 3, 1, 2)
