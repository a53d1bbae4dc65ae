"""Batch norm by the kernels equals torch's, with and without the ReLU behind it."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from midas.kernels.batch_norm import SOURCE, Chain
from midas.kernels.build import usable
from tests.kernels.switch import kernels


def chain(channels: int, affine: bool = True, tracked: bool = True, relu: bool = True) -> Chain:
    modules: list[nn.Module] = [
        nn.BatchNorm2d(channels, affine=affine, track_running_stats=tracked)
    ]
    if affine:
        nn.init.uniform_(modules[0].weight, -1, 2)
        nn.init.normal_(modules[0].bias)
    return Chain(*modules, *([nn.ReLU()] if relu else []))


def channels_last(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype).to(memory_format=torch.channels_last)


def run(module: Chain, x: Tensor, grad_y: Tensor) -> list[Tensor]:
    """Output, gradients and running statistics."""
    x = x.clone().requires_grad_()
    y = module(x)
    return [y, *torch.autograd.grad(y, [x, *module.parameters()], grad_y), *module.buffers()]


@given(
    batch=st.integers(1, 4),
    channels=st.integers(1, 20),
    height=st.integers(1, 9),
    width=st.integers(2, 9),
    affine=st.booleans(),
    tracked=st.booleans(),
    relu=st.booleans(),
    threads=st.integers(1, 3),
)
@settings(max_examples=100)
def test_outputs_gradients_and_statistics_equal_torchs(
    batch: int,
    channels: int,
    height: int,
    width: int,
    affine: bool,
    tracked: bool,
    relu: bool,
    threads: int,
) -> None:
    torch.manual_seed(channels)
    torch.set_num_threads(threads)
    fast = chain(channels, affine, tracked, relu).double()
    plain = deepcopy(fast)
    x, grad_y = (channels_last(batch, channels, height, width) for _ in range(2))
    for _ in range(2):  # the running statistics are updated twice
        with kernels(on=True):
            results = run(fast, x, grad_y)
        with kernels(on=False):
            expected = run(plain, x, grad_y)
    for a, b in zip(results, expected, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-10)


def test_a_mean_far_from_zero_costs_no_digits() -> None:
    torch.manual_seed(0)
    x = channels_last(8, 5, 16, 16, dtype=torch.float32) + 1000
    exact = run(
        chain(5, affine=False, relu=False).double(), x.double(), torch.ones(x.shape).double()
    )[0]
    y = run(chain(5, affine=False, relu=False), x, torch.ones(x.shape))[0]
    assert (y - exact).abs().max() < 1e-3  # a step of float32 at 1000 is 6e-5


def test_a_second_derivative_is_refused_and_torch_alone_has_it() -> None:
    torch.manual_seed(0)
    module = chain(3).double()
    x = channels_last(2, 3, 4, 4).requires_grad_()
    with kernels(on=False):
        (first,) = torch.autograd.grad(module(x).square().sum(), x, create_graph=True)
        assert torch.isfinite(torch.autograd.grad(first.square().sum(), x)[0]).all()
    if not usable(SOURCE, x.detach()):
        return
    with pytest.raises(RuntimeError, match="no second derivative: set MIDAS_NATIVE=0"):
        torch.autograd.grad(module(x).square().sum(), x, create_graph=True)


def test_torch_applies_norms_in_evaluation_with_hooks_and_of_other_types() -> None:
    x = channels_last(2, 4, 4, 4, dtype=torch.float32)
    with kernels(on=True):
        module = chain(4).eval()
        assert torch.equal(module(x), nn.Sequential(*module)(x))
        hooked: list[Tensor] = []
        module = chain(4)
        module[0].register_forward_hook(lambda _, __, y: hooked.append(y.detach().clone()))
        module(x)
        assert hooked[0].min() < 0  # the values between the norm and the ReLU
        other = nn.SyncBatchNorm.convert_sync_batchnorm(chain(4)).eval()
        assert other(x).min() == 0
        assert not torch.equal(other(x), other[0](x))


def test_a_single_value_in_a_channel_is_an_error_as_in_torch() -> None:
    with kernels(on=True), pytest.raises(ValueError, match="more than 1 value per channel"):
        chain(4)(torch.ones(1, 4, 1, 1))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("relu", [True, False])
def test_nan_and_infinity_are_not_hidden(value: float, relu: bool) -> None:
    torch.manual_seed(0)
    x = channels_last(2, 4, 4, 4)
    x[1, 2, 3, 1] = value
    module = chain(4, relu=relu).double()
    plain = deepcopy(module)
    results = run(module, x, torch.ones_like(x))
    with kernels(on=False):
        expected = run(plain, x, torch.ones_like(x))
    for a, b in zip(results, expected, strict=True):
        assert torch.equal(a.isnan(), b.isnan())
    assert results[0].isnan()[:, 2].all()


def test_an_outlier_at_the_first_pixel_costs_no_digits() -> None:
    torch.manual_seed(0)
    x = channels_last(4, 3, 16, 16, dtype=torch.float32)
    x[0, :, 0, 0] = 200
    module = chain(3, affine=False, relu=False)
    exact = run(module.double(), x.double(), torch.ones(x.shape).double())[0]
    y = run(module.float(), x, torch.ones(x.shape))[0]
    assert (y - exact).abs().max() < 1e-3  # of values up to 32


def test_tensors_that_do_not_fit_are_an_error_as_in_torch() -> None:
    with pytest.raises(RuntimeError, match="running_mean should contain"):
        chain(2)(channels_last(2, 4, 4, 4, dtype=torch.float32))
    with pytest.raises(RuntimeError, match=r"dtype|type"):
        chain(4)(channels_last(2, 4, 4, 4))


def test_statistics_no_longer_tracked_are_used_in_evaluation_as_in_torch() -> None:
    module = chain(4)
    module(channels_last(4, 4, 4, 4, dtype=torch.float32))
    module[0].track_running_stats = False
    module.eval()
    x = channels_last(2, 4, 4, 4, dtype=torch.float32)
    assert torch.equal(module(x), nn.Sequential(*module)(x))


def test_torch_func_differentiates_it() -> None:
    x = channels_last(2, 3, 4, 4)
    module = chain(3, tracked=False).double()
    gradient = torch.func.grad(lambda x: module(x).square().sum())(x)
    y = x.clone().requires_grad_()
    expected = torch.autograd.grad(module(y).square().sum(), y)[0]
    assert torch.allclose(gradient, expected, atol=1e-10)
