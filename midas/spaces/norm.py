"""Batch norm by a kernel of our own where it trains on a CPU, which takes the ReLU behind it along.

The modules are torch's: what converts, counts or exports them finds what it knows. Torch's kernel takes two to six times as
long (docs/log.md, 2026-11-28).
"""

from typing import cast

import torch
from torch import Tensor, nn

from midas.native.library import usable
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
    if type(norm) is nn.BatchNorm2d and usable("norm", x) and x.numel() > x.shape[1] and _is_plain(norm, relu):
        kept = norm.track_running_stats and norm.training
        if kept:
            cast(Tensor, norm.num_batches_tracked).add_(1)
        running = (norm.running_mean, norm.running_var) if kept else (None, None)
        return batch_norm(x, norm.weight, norm.bias, running, norm.momentum or 0.0, norm.eps, relu is not None)
    y = cast(Tensor, norm(x))
    return y if relu is None else cast(Tensor, relu(y))


def _is_plain(norm: nn.BatchNorm2d, relu: nn.Module | None) -> bool:
    """Whether nothing but the batch's statistics is asked of it, and nobody listens in between."""
    by_batch = norm.training or not norm.track_running_stats
    listened = any(m is not None and (m._forward_hooks or m._forward_pre_hooks) for m in (norm, relu))
    return by_batch and norm.momentum is not None and not listened
