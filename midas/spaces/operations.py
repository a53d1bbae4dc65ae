"""The candidate operations. Each keeps the channels and divides height and width by its stride.

Sources: DARTS, arXiv 1806.09055; NAS-Bench-201, arXiv 2001.00326; RDARTS, arXiv 1909.09656.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas.kernels.batch_norm import Chain, Normed
from midas.kernels.depthwise import DepthwiseConv2d, subsample

Norm = Callable[[int], nn.Module]  # makes a batch norm for a number of channels


def relu_conv_norm(norm: Norm, c_in: int, c_out: int, kernel: int, stride: int = 1) -> Chain:
    """ReLU, convolution, batch norm: a cell's adapted input, or a NAS-Bench-201 convolution."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
    return Chain(nn.ReLU(), conv, norm(c_out))


def lift_relu(operation: nn.Module) -> bool:
    """Replace an operation's first ReLU by an identity; returns whether it had one.

    If so it needs a rectified input, which other readers can share.
    """
    if isinstance(operation, FactorizedReduce):
        operation.relu = nn.Identity()
    elif isinstance(operation, nn.Sequential) and isinstance(operation[0], nn.ReLU):
        operation[0] = nn.Identity()
    else:
        return False
    return True


def _depthwise(
    norm: Norm, c: int, kernel: int, stride: int = 1, dilation: int = 1, inplace: bool = False
) -> list[nn.Module]:
    return [
        nn.ReLU(inplace),
        DepthwiseConv2d(c, kernel, stride, dilation),
        nn.Conv2d(c, c, 1, bias=False),
        norm(c),
    ]


def separable_conv(c: int, stride: int, norm: Norm, kernel: int) -> nn.Module:
    """Two depthwise separable convolutions; the first has the stride (DARTS, section 3.1)."""
    return Chain(*_depthwise(norm, c, kernel, stride), *_depthwise(norm, c, kernel, inplace=True))


def dilated_conv(c: int, stride: int, norm: Norm, kernel: int) -> nn.Module:
    """One depthwise separable convolution of dilation 2."""
    return Chain(*_depthwise(norm, c, kernel, stride, dilation=2))


class FactorizedReduce(Normed):
    """Halve the map by two 1x1 convolutions of stride 2, the second from one pixel further on."""

    def __init__(self, c_in: int, c_out: int, norm: Norm) -> None:
        super().__init__()
        self.relu: nn.Module = nn.ReLU()
        self.conv_1 = nn.Conv2d(c_in, c_out // 2, 1, bias=False)
        self.conv_2 = nn.Conv2d(c_in, c_out - c_out // 2, 1, bias=False)
        self.norm = norm(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, c_in, H, W] to [B, c_out, ceil(H / 2), ceil(W / 2)]."""
        if x.shape[-2] % 2 or x.shape[-1] % 2:
            x = F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2))
        # a 1x1 convolution of stride 2 reads every second pixel, and only those need the ReLU
        first = self.conv_1(self.relu(subsample(x, 2)))
        second = self.conv_2(self.relu(subsample(x, 2, offset=1)))
        return self.finish(torch.cat([first, second], dim=1))


def skip_connect(c: int, stride: int, norm: Norm) -> nn.Module:
    """The identity, or a factorised reduction where the stride is 2."""
    return nn.Identity() if stride == 1 else FactorizedReduce(c, c, norm)


class Pool(Normed):
    """A 3x3 pooling, followed by a batch norm unless `norm` is None. Averages leave padding out."""

    def __init__(self, c: int, stride: int, norm: Norm | None, kind: str) -> None:
        super().__init__()
        mean_pool = nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        self.pool: nn.Module = nn.MaxPool2d(3, stride, 1) if kind == "max" else mean_pool
        self.norm = nn.Identity() if norm is None else norm(c)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, c, H, W] to [B, c, ceil(H / stride), ceil(W / stride)]."""
        return self.finish(self.pool(x))


class Zero(nn.Module):
    """The operation `none`: zeros of the output's size."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, c, H, W] to zeros [B, c, ceil(H / stride), ceil(W / stride)]."""
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class Noise(Zero):
    """N(0, 1) without a gradient in training (RDARTS, space S4); its mean, 0, in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, c, H, W] to noise or zeros [B, c, ceil(H / stride), ceil(W / stride)]."""
        kept = x[:, :, :: self.stride, :: self.stride]
        return torch.randn_like(kept) if self.training else torch.zeros_like(kept)


OPERATIONS: dict[str, Callable[[int, int, Norm], nn.Module]] = {
    "none": lambda c, stride, norm: Zero(stride),
    "noise": lambda c, stride, norm: Noise(stride),
    "skip_connect": skip_connect,
    "max_pool_3x3": partial(Pool, kind="max"),
    "avg_pool_3x3": partial(Pool, kind="avg"),
    "sep_conv_3x3": partial(separable_conv, kernel=3),
    "sep_conv_5x5": partial(separable_conv, kernel=5),
    "sep_conv_7x7": partial(separable_conv, kernel=7),
    "dil_conv_3x3": partial(dilated_conv, kernel=3),
    "dil_conv_5x5": partial(dilated_conv, kernel=5),
    "nor_conv_1x1": lambda c, stride, norm: relu_conv_norm(norm, c, c, 1, stride),
    "nor_conv_3x3": lambda c, stride, norm: relu_conv_norm(norm, c, c, 3, stride),
}
"""Builds each operation from (channels, stride, norm). A new operation is a new line here."""


def build_operation(
    name: str, channels: int, stride: int, norm: Norm, pool_norm: bool
) -> nn.Module:
    """An operation of `OPERATIONS`; only DARTS supernets norm their poolings (`pool_norm`)."""
    if name in ("max_pool_3x3", "avg_pool_3x3") and not pool_norm:
        return Pool(channels, stride, None, name[:3])
    return OPERATIONS[name](channels, stride, norm)


class ResidualReduction(nn.Module):
    """The residual block of stride 2 between NAS-Bench-201 stages (arXiv 2001.00326, section 2)."""

    def __init__(self, c_in: int, c_out: int, norm: Norm) -> None:
        super().__init__()
        first = relu_conv_norm(norm, c_in, c_out, 3, 2)
        self.body = Chain(first, relu_conv_norm(norm, c_out, c_out, 3))
        pool = nn.AvgPool2d(2, 2, ceil_mode=True)
        self.shortcut = nn.Sequential(pool, nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, c_in, H, W] to [B, c_out, ceil(H / 2), ceil(W / 2)]."""
        y: Tensor = self.shortcut(x) + self.body(x)
        return y
