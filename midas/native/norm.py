"""The kernels of norm.c on tensors, differentiable."""

import ctypes
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from midas.native.library import library


class _Norm(ctypes.Structure):
    """`Norm` of norm.c."""

    _fields_ = (
        *((name, ctypes.c_long) for name in ("pixels", "channels", "relu", "threads")),
        *((name, ctypes.c_double) for name in ("epsilon", "momentum")),
        *(
            (name, ctypes.c_void_p)
            for name in ("x", "scale", "shift", "running_mean", "running_var", "y", "mean", "inverse")
        ),
        *((name, ctypes.c_void_p) for name in ("by_y", "by_x", "by_scale", "by_shift", "sums")),
    )


def batch_norm(
    x: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    running: tuple[Tensor | None, Tensor | None],
    momentum: float,
    epsilon: float,
    relu: bool,
) -> Tensor:
    """Batch norm in training, with or without the ReLU behind it.

    Args:
        x: [B, C, H, W], of which `midas.native.library.usable` says yes, more than one pixel.
        scale: [C], or None for ones.
        shift: [C], or None for zeros.
        running: mean and variance [C] that are moved towards the batch's, where they are kept.
        momentum: how far.
        epsilon: added to the variance.
        relu: whether a ReLU follows.

    Returns:
        [B, C, H, W].
    """
    return cast(Tensor, _BatchNorm.apply(x, scale, shift, running, momentum, epsilon, relu))


class _BatchNorm(torch.autograd.Function):
    """See `batch_norm`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor | None,
        shift: Tensor | None,
        running: tuple[Tensor | None, Tensor | None],
        momentum: float,
        epsilon: float,
        relu: bool,
    ) -> Tensor:
        y, mean, inverse = torch.empty_like(x), x.new_empty(x.shape[1]), x.new_empty(x.shape[1])
        places = {"y": y, "mean": mean, "inverse": inverse, "running_mean": running[0], "running_var": running[1]}
        _call("norm", x, scale, shift, relu, epsilon, momentum, **places)
        ctx.epsilon, ctx.relu = epsilon, relu
        ctx.save_for_backward(x, scale, shift, mean, inverse)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, shift, mean, inverse = ctx.saved_tensors
        needed = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # a gradient of gradients is torch's business
            y = F.batch_norm(x, None, None, scale, shift, True, 0.0, ctx.epsilon)
            wanted = [t for t, need in zip((x, scale, shift), needed, strict=True) if need]
            found = iter(torch.autograd.grad(F.relu(y) if ctx.relu else y, wanted, gradients, create_graph=True))
            return *(next(found) if need else None for need in needed), None, None, None, None
        by_y = gradients[0].contiguous(memory_format=torch.channels_last)
        by_x = torch.empty_like(x) if needed[0] else None
        by_scale, by_shift = (torch.empty_like(mean) if need else None for need in needed[1:])
        places = {
            "mean": mean,
            "inverse": inverse,
            "by_y": by_y,
            "by_x": by_x,
            "by_scale": by_scale,
            "by_shift": by_shift,
        }
        _call("norm_back", x, scale, shift, ctx.relu, ctx.epsilon, 0.0, **places)
        return by_x, by_scale, by_shift, None, None, None, None


def _call(
    name: str,
    x: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    relu: bool,
    epsilon: float,
    momentum: float,
    **places: Tensor | None,
) -> None:
    channels, threads = x.shape[1], torch.get_num_threads()
    norm = _Norm(x.numel() // channels, channels, relu, threads, epsilon, momentum)
    sums = torch.empty(threads, 2, channels, dtype=torch.float64)
    for field, tensor in {"x": x, "scale": scale, "shift": shift, "sums": sums, **places}.items():
        if tensor is not None:
            setattr(norm, field, tensor.data_ptr())
    getattr(library("norm", x.dtype), name)(ctypes.byref(norm))
