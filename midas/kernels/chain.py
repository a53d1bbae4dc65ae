"""Modules that apply batch norm, and the ReLU behind it, by our kernel where they train on a CPU.

Torch's kernel takes two to six times as long. The submodules are torch's own, so tools that
convert, count or export a network know them.
"""

from typing import cast

import torch
from torch import Tensor, nn

from midas.kernels.batch_norm import SOURCE, batch_norm
from midas.kernels.build import compatible, usable


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
    return batch_norm(x, module.weight, module.bias, running, *settings)


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
