"""The candidate operations of the DARTS, RDARTS and NAS-Bench-201 spaces, each written once.

The supernet and the final network build the same operations; they differ in the batch norm only. An operation keeps
the number of channels and divides height and width by its stride.

Sources: DARTS, arXiv 1806.09055 (operations); NAS-Bench-201, arXiv 2001.00326; RDARTS, arXiv 1909.09656 (`noise`).
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas.spaces.depthwise import DepthwiseConv2d
from midas.spaces.norm import Chain, Normed
from midas.spaces.subsample import subsample

Norm = Callable[[int], nn.Module]


def relu_conv_norm(norm: Norm, c_in: int, c_out: int, kernel: int, stride: int = 1) -> Chain:
    """ReLU, convolution, batch norm: how cells adapt their inputs, and the NAS-Bench-201 convolutions."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
    return Chain(nn.ReLU(), conv, norm(c_out))


def lift_relu(operation: nn.Module) -> bool:
    """Take the ReLU that an operation starts with out of it, so that its input is rectified once for all who read it.

    An identity stays in its place: the weights keep their names.

    Returns:
        Whether the operation is now to be given a rectified input.
    """
    if isinstance(operation, FactorizedReduce):
        operation.relu = nn.Identity()
        return True
    if not (isinstance(operation, nn.Sequential) and isinstance(operation[0], nn.ReLU)):
        return False
    operation[0] = nn.Identity()
    return True


def _depthwise(norm: Norm, c: int, kernel: int, stride: int, dilation: int, inplace: bool = False) -> list[nn.Module]:
    """ReLU (in place where nobody else reads its input), depthwise convolution, 1x1 convolution, batch norm."""
    return [
        nn.ReLU(inplace),
        DepthwiseConv2d(c, kernel, stride, dilation),
        nn.Conv2d(c, c, 1, bias=False),
        norm(c),
    ]


def separable_conv(c: int, stride: int, norm: Norm, kernel: int) -> nn.Module:
    """Two depthwise separable convolutions, the first with the stride (DARTS, section 3.1)."""
    return Chain(*_depthwise(norm, c, kernel, stride, 1), *_depthwise(norm, c, kernel, 1, 1, inplace=True))


def dilated_conv(c: int, stride: int, norm: Norm, kernel: int) -> nn.Module:
    """One depthwise separable convolution of dilation 2."""
    return Chain(*_depthwise(norm, c, kernel, stride, 2))


class FactorizedReduce(Normed):
    """Halve the map by two 1x1 convolutions of stride 2, the second one pixel further, joined over channels.

    For an odd height or width the second one reads zeros beyond the edge, so that both halves have the same size.
    """

    def __init__(self, c_in: int, c_out: int, norm: Norm) -> None:
        super().__init__()
        self.relu: nn.Module = nn.ReLU()
        self.conv_1 = nn.Conv2d(c_in, c_out // 2, 1, bias=False)
        self.conv_2 = nn.Conv2d(c_in, c_out - c_out // 2, 1, bias=False)
        self.norm = norm(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """[B, c_in, H, W] to [B, c_out, ceil(H/2), ceil(W/2)]."""
        if x.shape[-2] % 2 or x.shape[-1] % 2:
            x = F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2))
        # a 1x1 convolution of stride 2 is a plain one on every second pixel, and only those need their ReLU
        halves = [self.conv_1(self.relu(subsample(x, 2))), self.conv_2(self.relu(subsample(x, 2, offset=1)))]
        return self.finish(torch.cat(halves, dim=1))


def skip_connect(c: int, stride: int, norm: Norm) -> nn.Module:
    """The identity, or a factorised reduction where the stride is 2."""
    return nn.Identity() if stride == 1 else FactorizedReduce(c, c, norm)


class Pool(Normed):
    """3x3 pooling; averages do not count padding. `norm` follows it in the DARTS supernet (not in its final network)."""

    def __init__(self, c: int, stride: int, norm: Norm | None, kind: str) -> None:
        super().__init__()
        self.pool: nn.Module = (
            nn.MaxPool2d(3, stride, 1) if kind == "max" else nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        )
        self.norm = nn.Identity() if norm is None else norm(c)

    def forward(self, x: Tensor) -> Tensor:
        """[B, c, H, W] to [B, c, H/stride, W/stride]."""
        return self.finish(self.pool(x))


class Zero(nn.Module):
    """`none`: zeros of the output's size."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """[B, c, H, W] to zeros [B, c, ceil(H/stride), ceil(W/stride)]."""
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class Noise(nn.Module):
    """N(0, 1) drawn afresh in each forward, without gradient (RDARTS, space S4); in evaluation its mean, 0.

    RDARTS draws in evaluation, too; a network that answers otherwise each time could not be judged twice, nor deployed.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """[B, c, H, W] to noise, or zeros, [B, c, ceil(H/stride), ceil(W/stride)]."""
        kept = x[:, :, :: self.stride, :: self.stride]
        return torch.randn_like(kept, requires_grad=False) if self.training else torch.zeros_like(kept)


def nor_conv(c: int, stride: int, norm: Norm, kernel: int) -> nn.Module:
    """The NAS-Bench-201 convolution: ReLU, convolution, batch norm."""
    return relu_conv_norm(norm, c, c, kernel, stride)


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
    "nor_conv_1x1": partial(nor_conv, kernel=1),
    "nor_conv_3x3": partial(nor_conv, kernel=3),
}
"""Builds an operation by name from (channels, stride, norm). Adding an operation is adding a line here."""

POOLS = ("max_pool_3x3", "avg_pool_3x3")


def build_operation(name: str, channels: int, stride: int, norm: Norm, pool_norm: bool) -> nn.Module:
    """One operation.

    Args:
        name: a key of `OPERATIONS`.
        channels: channels in and out.
        stride: 1 or 2.
        norm: makes a batch norm for a number of channels.
        pool_norm: whether a pooling is followed by a batch norm (the DARTS supernet) or not (everywhere else).
    """
    if name in POOLS and not pool_norm:
        return Pool(channels, stride, None, name[:3])
    return OPERATIONS[name](channels, stride, norm)


class ResidualReduction(nn.Module):
    """The NAS-Bench-201 reduction between stages: a residual block of stride 2 (arXiv 2001.00326, section 2)."""

    def __init__(self, c_in: int, c_out: int, norm: Norm) -> None:
        super().__init__()
        self.body = Chain(relu_conv_norm(norm, c_in, c_out, 3, 2), relu_conv_norm(norm, c_out, c_out, 3))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2, ceil_mode=True), nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """[B, c_in, H, W] to [B, c_out, ceil(H/2), ceil(W/2)]."""
        y: Tensor = self.shortcut(x) + self.body(x)
        return y
