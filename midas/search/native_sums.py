"""The two sums of `midas.search.mixture` by the kernels of `midas.native`, where each map is read once in a pass."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from midas.native.node import Answers, Kernels, Projections


def native_weighted_sum(maps: Sequence[Tensor], weights: Tensor, patch: int | None) -> Tensor:
    """As `midas.search.mixture.weighted_sum`, for maps that are `usable`."""
    return cast(Tensor, _WeightedSum.apply(Kernels(maps, patch), weights, *maps))


def native_attended_sum(
    kernels: Kernels, maps: Sequence[Tensor], inputs: Sequence[Tensor], projections: Projections
) -> tuple[Tensor, Answers]:
    """Pool the maps into keys, weigh them by mosaic attention (`midas.search.attention`), add them up.

    Args:
        kernels: for these maps.
        maps: candidate maps, each [B, C, H, W], of which `usable` says yes.
        inputs: the patch means of the node's n inputs, each [B, Ph, Pw, C].
        projections: of the node.

    Returns:
        The sum [B, C, H, W] and the answers; all are differentiable.
    """
    total, *answers = cast(
        list[Tensor], _AttendedSum.apply(kernels, len(maps), len(inputs), *maps, *inputs, *projections)
    )
    return total, Answers(*answers)


class _WeightedSum(torch.autograd.Function):
    """See `native_weighted_sum`."""

    @staticmethod
    def forward(ctx: Any, kernels: Kernels, weights: Tensor, *maps: Tensor) -> Tensor:
        ctx.kernels, weights = kernels, weights.contiguous()
        ctx.save_for_backward(weights, *maps)
        return kernels.weigh(maps, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weights, *maps = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        by_weights = None
        if ctx.needs_input_grad[1]:
            by_weights = ctx.kernels.weigh_back(maps, gradient).sum_to_size(weights.shape)
        return None, by_weights, *ctx.kernels.spread(weights, gradient, None, ctx.needs_input_grad[2:])


class _AttendedSum(torch.autograd.Function):
    """See `native_attended_sum`. Nothing is kept but what was given and answered: the rest is computed again."""

    @staticmethod
    def forward(ctx: Any, kernels: Kernels, count: int, n: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        maps, rest = tensors[:count], [x.contiguous() for x in tensors[count:]]
        total, answers = kernels.attend(maps, rest[:n], Projections(*rest[n:]))
        ctx.kernels, ctx.count, ctx.n = kernels, count, n
        ctx.save_for_backward(*answers, *maps, *rest)
        ctx.set_materialize_grads(False)
        return total, *answers

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        saved, needed, count = (
            ctx.saved_tensors,
            ctx.needs_input_grad[3:],
            ctx.count,
        )  # a checkpointed pass gives them once
        answers, maps, rest = Answers(*saved[:4]), saved[4 : 4 + count], saved[4 + count :]
        by_total = None if gradients[0] is None else gradients[0].contiguous(memory_format=torch.channels_last)
        given = [by_total, *(None if g is None else g.contiguous() for g in gradients[1:])]
        inputs, projections = rest[: ctx.n], Projections(*rest[ctx.n :])
        by_keys, others = ctx.kernels.attend_back(maps, inputs, projections, answers, given, needed[count:])
        by_total = torch.zeros_like(maps[0]) if by_total is None else by_total
        return None, None, None, *ctx.kernels.spread(answers.weights, by_total, by_keys, needed[:count]), *others
