"""Batch norm by a kernel of our own where it trains on a CPU, which takes the ReLU behind it along.

The modules are torch's: what converts, counts or exports them finds what it knows. Torch's kernel takes two to six times as
long (docs/log.md, 2026-11-28).
"""

from typing import cast

import torch
from torch import Tensor, nn

from midas.native.library import alike, usable
from midas.native.norm import batch_norm


class Chain(nn.Sequential):
    """An `nn.Sequential` whose batch norms are `normalised`."""

    def forward(self, x: Tensor) -> Tensor:
        """The modules one after the other."""
        # the marks as in midas/spaces/depthwise.py
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            for module in self:
                x = module(x)
            return x
        else:  # noqa: RET505
            return self._eager(x)

    @torch.jit.unused
    def _eager(self, x: Tensor) -> Tensor:
        modules = list(self)
        while modules:
            module = modules.pop(0)
            relu = bool(modules) and isinstance(module, nn.BatchNorm2d) and type(modules[0]) is nn.ReLU
            x = normalised(module, x, modules.pop(0) if relu else None)
        return x


class Normed(nn.Module):
    """A module with a batch norm, or none, named `norm` at its end."""

    def finish(self, x: Tensor) -> Tensor:
        """That norm, `normalised`."""
        # the marks as in midas/spaces/depthwise.py; a module's attribute may be a tensor, for all that mypy knows
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            y: Tensor = self.norm(x)  # type: ignore[operator]
            return y
        else:  # noqa: RET505
            return self._finish(x)

    @torch.jit.unused
    def _finish(self, x: Tensor) -> Tensor:
        return normalised(cast(nn.Module, self.norm), x)


def normalised(norm: nn.Module, x: Tensor, relu: nn.Module | None = None) -> Tensor:
    """A module of [B, C, H, W], and the ReLU behind it; natively where it is a batch norm in training on a CPU."""
    if type(norm) is nn.BatchNorm2d and usable("norm", x) and _is_plain(norm, x, relu):
        kept = norm.training and norm.track_running_stats
        if kept and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        running = (norm.running_mean, norm.running_var) if kept else (None, None)
        return batch_norm(x, norm.weight, norm.bias, running, norm.momentum or 0.0, norm.eps, relu is not None)
    y = cast(Tensor, norm(x))
    return y if relu is None else cast(Tensor, relu(y))


def _is_plain(norm: nn.BatchNorm2d, x: Tensor, relu: nn.Module | None) -> bool:
    """Whether it norms x by its own statistics, all fits, and nobody listens in between."""
    by_batch = norm.training or (norm.running_mean is None and norm.running_var is None)
    fits = x.shape[1] == norm.num_features and x.numel() > x.shape[1]
    own = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    return by_batch and norm.momentum is not None and fits and alike(x, *own) and not _listened(norm, relu)


def _listened(*modules: nn.Module | None) -> bool:
    """Whether a hook waits at one of them."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(m is not None and any(getattr(m, kind) for kind in kinds) for m in modules)
