"""Batch norm in training on a CPU, with or without the ReLU behind it, by batch_norm.c.

Torch takes two to six times as long. The submodules of `Chain` and `Normed` are torch's own.
"""

from ctypes import c_double, c_long, c_void_p
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from midas.kernels.build import Kernel, Struct, compatible, fields, usable

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


class _BatchNorm(torch.autograd.Function):
    """Batch norm of x [B, C, H, W] by its own statistics, and a ReLU if asked for.

    The running mean and variance [C], where there are any, move by `momentum` towards the batch's.
    """

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
        if torch.is_grad_enabled():
            raise RuntimeError("batch norm's kernel has no second derivative: set MIDAS_NATIVE=0")
        grad_y = gradients[0].contiguous(memory_format=torch.channels_last)
        likes = zip((x, mean, mean), ctx.needs_input_grad[:3], strict=True)
        outputs = [torch.empty_like(like) if need else None for like, need in likes]
        norm = _norm(x, scale, shift, *ctx.settings)
        _backward(x.dtype, norm, _Backward(mean, inv_std, grad_y, *outputs))
        return *outputs, None, None, None, None


def _norm(
    x: Tensor, scale: Tensor | None, shift: Tensor | None, epsilon: float, relu: float
) -> _Norm:
    sizes = (x.numel() // x.shape[1], x.shape[1])
    return _Norm(*sizes, torch.get_num_threads(), relu, epsilon, x, scale, shift)


class Chain(nn.Sequential):
    """An `nn.Sequential` that applies its modules by `apply_norm`."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the modules one after the other."""
        # midas/kernels/depthwise.py explains the marks
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            for module in self:
                x = module(x)
            return x
        else:  # noqa: RET505
            return self._eager(x)

    def _eager(self, x: Tensor) -> Tensor:
        modules = list(self)
        while modules:
            module = modules.pop(0)
            fuse = isinstance(module, nn.BatchNorm2d) and modules and type(modules[0]) is nn.ReLU
            x = apply_norm(module, x, modules.pop(0) if fuse else None)
        return x


class Normed(nn.Module):
    """A module that ends with `norm`, which is a batch norm or the identity."""

    def finish(self, x: Tensor) -> Tensor:
        """Apply `norm` by `apply_norm`."""
        # mypy takes a module's attribute for a tensor; midas/kernels/depthwise.py explains the rest
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            y: Tensor = self.norm(x)  # type: ignore[operator]
            return y
        else:  # noqa: RET505
            return apply_norm(cast(nn.Module, self.norm), x)


def apply_norm(module: nn.Module, x: Tensor, relu: nn.Module | None = None) -> Tensor:
    """Apply a module and the ReLU behind it to [B, C, H, W]. The kernel applies a batch norm."""
    if type(module) is not nn.BatchNorm2d or not _fits_kernel(module, x, relu):
        y = cast(Tensor, module(x))
        return y if relu is None else cast(Tensor, relu(y))
    keeps = module.training and module.track_running_stats
    if keeps and module.num_batches_tracked is not None:
        module.num_batches_tracked.add_(1)
    running = (module.running_mean, module.running_var) if keeps else (None, None)
    settings = (cast(float, module.momentum), module.eps, relu is not None)
    return cast(Tensor, _BatchNorm.apply(x, module.weight, module.bias, running, *settings))


def _fits_kernel(norm: nn.BatchNorm2d, x: Tensor, relu: nn.Module | None) -> bool:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return (
        usable(SOURCE, x)
        and (norm.training or (norm.running_mean is None and norm.running_var is None))
        and norm.momentum is not None  # None stands for an average over all batches
        and x.shape[1] == norm.num_features
        and x.numel() > x.shape[1]
        and compatible(x, norm.weight, norm.bias, norm.running_mean, norm.running_var)
        and not any(getattr(module, kind) for module in (norm, relu) if module for kind in kinds)
    )
