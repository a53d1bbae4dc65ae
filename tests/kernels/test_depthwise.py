"""The fast backward pass equals that of the plain convolution."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from midas.kernels.depthwise import DepthwiseConv2d, subsample
from midas.spaces.operations import FactorizedReduce

SIDES = st.integers(2, 20)


@given(
    SIDES,
    SIDES,
    st.sampled_from([3, 5, 7]),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 2]),
    st.integers(1, 5),
)
@settings(max_examples=150)
def test_forward_and_gradients_equal_the_plain_convolution(
    height: int, width: int, kernel: int, stride: int, dilation: int, channels: int
) -> None:
    torch.manual_seed(height * width)
    module = DepthwiseConv2d(channels, kernel, stride, dilation).double()
    x = (
        torch.randn(2, channels, height, width, dtype=torch.float64)
        .to(memory_format=torch.channels_last)
        .requires_grad_()
    )
    padding = dilation * (kernel - 1) // 2
    plain = F.conv2d(x, module.weight, None, stride, padding, dilation, channels)
    fast = module(x)
    assert torch.allclose(fast, plain, atol=1e-10)
    sample = torch.randn_like(plain)
    expected = torch.autograd.grad((plain * sample).sum(), [x, module.weight])
    gradients = torch.autograd.grad((fast * sample).sum(), [x, module.weight])
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(gradients, expected, strict=True))


def test_evaluation_uses_the_plain_convolution() -> None:
    module = DepthwiseConv2d(4, 5).eval()
    x = torch.randn(1, 4, 8, 8)
    assert torch.equal(module(x), F.conv2d(x, module.weight, None, 1, 2, 1, 4))


@given(SIDES, SIDES, st.integers(1, 3), st.integers(0, 2))
def test_subsampling_equals_the_slice_in_value_and_gradient(
    height: int, width: int, stride: int, offset: int
) -> None:
    x = torch.randn(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    fast, plain = subsample(x, stride, offset), x[:, :, offset::stride, offset::stride]
    assert torch.equal(fast, plain)
    sample = torch.randn_like(plain)
    assert torch.equal(*(torch.autograd.grad((y * sample).sum(), x)[0] for y in (fast, plain)))


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (5, 4)])
def test_a_factorised_reduction_is_two_strided_convolutions_one_pixel_apart(
    size: tuple[int, int],
) -> None:
    module = FactorizedReduce(4, 6, nn.BatchNorm2d).eval()
    x = torch.randn(2, 4, *size)
    padded = F.pad(torch.relu(x), (0, 1, 0, 1))
    first = F.conv2d(torch.relu(x), module.conv_1.weight, stride=2)
    second = F.conv2d(padded[:, :, 1:, 1:], module.conv_2.weight, stride=2)
    assert torch.allclose(module(x), module.norm(torch.cat([first, second], 1)), atol=1e-6)
