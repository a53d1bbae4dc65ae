"""Batch norm in training on a CPU, with or without the ReLU behind it, by batch_norm.c."""

from collections.abc import Sequence
from ctypes import c_double, c_long, c_void_p
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from midas.kernels.build import Kernel, Struct, fields

SOURCE = Path(__file__).with_suffix(".c")


class _Norm(Struct):
    _fields_ = (
        *fields(c_long, "pixels channels threads relu"),
        ("epsilon", c_double),
        *fields(c_void_p, "x scale shift"),
    )


class _Forward(Struct):
    _fields_ = (
        ("momentum", c_double),
        *fields(c_void_p, "running_mean running_var y mean inv_std"),
    )


class _Backward(Struct):
    _fields_ = fields(c_void_p, "mean inv_std grad_y grad_x grad_scale grad_shift")


_forward = Kernel(SOURCE, "batch_norm", _Norm, _Forward)
_backward = Kernel(SOURCE, "batch_norm_backward", _Norm, _Backward)


def batch_norm(
    x: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    running: tuple[Tensor | None, Tensor | None],
    momentum: float,
    epsilon: float,
    relu: bool,
) -> Tensor:
    """Batch norm of x [B, C, H, W] by its own statistics, and a ReLU if asked for; differentiable.

    `usable(SOURCE, x)` holds, and a channel has several pixels. The running mean and variance [C],
    where there are any, move by `momentum` towards the batch's.
    """
    return cast(Tensor, _BatchNorm.apply(x, scale, shift, running, momentum, epsilon, relu))


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor | None,
        shift: Tensor | None,
        running: tuple[Tensor | None, Tensor | None],
        momentum: float,
        *settings: float,
    ) -> Tensor:
        y = torch.empty_like(x)
        mean = x.new_empty(x.shape[1])
        inv_std = torch.empty_like(mean)
        norm = _norm(x, scale, shift, *settings)
        _forward(x.dtype, norm, _Forward(momentum, *running, y, mean, inv_std))
        ctx.settings = settings
        ctx.save_for_backward(x, scale, shift, mean, inv_std)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, shift, mean, inv_std = ctx.saved_tensors
        needed = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():
            outputs = _plain_backward(gradients[0], (x, scale, shift), needed, *ctx.settings)
        else:
            grad_y = gradients[0].contiguous(memory_format=torch.channels_last)
            likes = zip((x, mean, mean), needed, strict=True)
            outputs = [torch.empty_like(like) if need else None for like, need in likes]
            norm = _norm(x, scale, shift, *ctx.settings)
            _backward(x.dtype, norm, _Backward(mean, inv_std, grad_y, *outputs))
        return *outputs, None, None, None, None


def _norm(
    x: Tensor, scale: Tensor | None, shift: Tensor | None, epsilon: float, relu: float
) -> _Norm:
    sizes = (x.numel() // x.shape[1], x.shape[1])
    return _Norm(*sizes, torch.get_num_threads(), relu, epsilon, x, scale, shift)


def _plain_backward(
    grad_y: Tensor, inputs: Sequence[Tensor], needed: Sequence[bool], epsilon: float, relu: float
) -> list[Tensor | None]:
    """The gradients by x, scale and shift in torch, which can differentiate them again."""
    x, scale, shift = inputs
    y = F.batch_norm(x, None, None, scale, shift, True, 0.0, epsilon)
    variables = [variable for variable, need in zip(inputs, needed, strict=True) if need]
    y = F.relu(y) if relu else y
    gradients = iter(torch.autograd.grad(y, variables, grad_y, create_graph=True))
    return [next(gradients) if need else None for need in needed]
