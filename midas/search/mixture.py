"""The weighted sum over candidate maps, with a gradient of its own that keeps no weighted copies of the maps.

`weighted_sum` takes weights as they are. `attended_sum` also pools the maps into keys and asks for the weights itself, so
that each map's gradient, which comes both through the sum and through the key, is formed in one pass over the map.
`plain_sum` is what both are tested against.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from midas.native.library import alike, usable
from midas.search.native_sums import native_weighted_sum
from midas.search.patches import areas, as_map, by_pixel, by_run, patch_means, patch_rows, pool_keys, spread

# queries, each [B, Ph, Pw, C], and stacked keys [B, Ph, Pw, E, C] to (weights [B, Ph, Pw, E], more)
Attend = Callable[[Sequence[Tensor], Tensor], Sequence[Tensor]]


def plain_sum(maps: Sequence[Tensor], weights: Tensor, patch: int | None) -> Tensor:
    """The sum over candidates e of weights_e * maps_e, differentiable in both. Arguments as in `weighted_sum`."""
    pixels = spread(weights, (maps[0].shape[-2], maps[0].shape[-1]), patch).unbind(-1)
    total = maps[0] * pixels[0].unsqueeze(1)
    for f, w in zip(maps[1:], pixels[1:], strict=True):
        total = torch.addcmul(total, f, w.unsqueeze(1))
    return total


def _sum(maps: Sequence[Tensor], weights: Tensor, patch: int | None) -> Tensor:
    """`plain_sum` in place, for where no gradient is recorded: half of the memory traffic."""
    total = torch.empty_like(maps[0])
    views = [] if patch is None else [rows for x in (total, *maps) if (rows := patch_rows(x, patch)) is not None]
    if len(views) == 1 + len(maps):
        pixels = by_run(weights)
    else:
        views, pixels = [total, *maps], by_pixel(weights, (total.shape[-2], total.shape[-1]), patch)
    torch.mul(views[1], pixels[0], out=views[0])
    for f, w in zip(views[2:], pixels[1:], strict=True):
        views[0].addcmul_(f, w)
    return total


def weighted_sum(maps: Sequence[Tensor], weights: Tensor, patch: int | None) -> Tensor:
    """The sum over candidates e of weights_e * maps_e.

    Args:
        maps: candidate maps, each [B, C, H, W].
        weights: [B or 1, Ph, Pw, E].
        patch: the patch's side in pixels; None where one patch covers the map.

    Returns:
        [B, C, H, W].
    """
    if usable("node", *maps) and alike(maps[0], weights.contiguous()):
        return native_weighted_sum(maps, weights, patch)
    return cast(Tensor, _WeightedSum.apply(patch, weights, *maps))


def attended_sum(
    attend: Attend,
    maps: Sequence[Tensor],
    patch: int | None,
    queries: Sequence[Tensor],
    parameters: Sequence[Tensor],
    means: Sequence[Tensor | None],
    again: bool = False,
) -> tuple[Tensor, ...]:
    """Pool the maps into keys, ask for their weights, add them up.

    Args:
        attend: the weights from the queries and keys, and whatever else it returns, all differentiable.
        maps: candidate maps, each [B, C, H, W].
        patch: the patch's side in pixels; None where one patch covers the map.
        queries: what `attend` is given beside the keys. One that is an element of `means` is the mean of that map, and its
            gradient goes to the map at once.
        parameters: the leaves that `attend` depends on.
        means: the patch means [B, Ph, Pw, C] of those maps that were pooled already; None for the others. They are values
            alone: a mean's gradient is the map's.
        again: compute the weights again in the backward pass, and keep nothing of them until then: a checkpointed search
            would keep that of all its cells.

    Returns:
        The sum [B, C, H, W] and then what `attend` returned.
    """
    pooled = [None if mean is None else mean.detach() for mean in means]
    own = [next((e for e, mean in enumerate(means) if mean is query), None) for query in queries]
    return cast(
        tuple[Tensor, ...],
        _AttendedSum.apply(attend, patch, pooled, own, len(maps), again, *maps, *queries, *parameters),
    )


class _WeightedSum(torch.autograd.Function):
    """See `weighted_sum`."""

    @staticmethod
    def forward(ctx: Any, patch: int | None, weights: Tensor, *maps: Tensor) -> Tensor:
        ctx.patch = patch
        ctx.save_for_backward(weights, *maps)
        return _sum(maps, weights, patch)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weights, *maps = ctx.saved_tensors
        gradient = _like(gradients[0], maps[0])
        by_weight = _weight_gradient(gradient, maps, weights, ctx.patch) if ctx.needs_input_grad[1] else None
        pixels = spread(weights, (gradient.shape[-2], gradient.shape[-1]), ctx.patch).unbind(-1)
        needed = zip(pixels, ctx.needs_input_grad[2:], strict=True)
        return None, by_weight, *(gradient * w.unsqueeze(1) if need else None for w, need in needed)


class _AttendedSum(torch.autograd.Function):
    """See `attended_sum`. The small graph from queries and keys to weights goes with the first backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        attend: Attend,
        patch: int | None,
        means: Sequence[Tensor | None],
        own: Sequence[int | None],
        count: int,
        again: bool,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        maps, rest = tensors[:count], tensors[count:]
        keys = pool_keys(maps, patch, means)
        ctx.patch, ctx.own, ctx.count, ctx.attend = patch, own, count, attend
        recorded = answers, _ = _record(attend, keys, rest, len(own))
        ctx.recorded = None if again else recorded
        ctx.save_for_backward(*maps, keys, *rest)
        ctx.set_materialize_grads(False)
        results = [answer.detach() for answer in answers]
        ctx.mark_non_differentiable(
            *(r for r, answer in zip(results, answers, strict=True) if not answer.requires_grad)
        )
        return _sum(maps, results[0], patch), *results

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        tensors, by_answers = ctx.saved_tensors, list(gradients[1:])
        maps, keys, rest = tensors[: ctx.count], tensors[ctx.count], tensors[ctx.count + 1 :]
        (answers, leaves), ctx.recorded = ctx.recorded or _record(ctx.attend, keys, rest, len(ctx.own)), None
        weights = answers[0].detach()
        gradient = None if gradients[0] is None else _like(gradients[0], maps[0])
        if gradient is not None:
            own = _weight_gradient(gradient, maps, weights, ctx.patch)
            by_answers[0] = own if by_answers[0] is None else by_answers[0] + own
        used = [(a, g) for a, g in zip(answers, by_answers, strict=True) if g is not None and a.requires_grad]
        if not used:
            return tuple([None] * len(ctx.needs_input_grad))
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        found = iter(torch.autograd.grad([a for a, _ in used], wanted, [g for _, g in used], allow_unused=True))
        by_key, *others = [next(found) if leaf.requires_grad else None for leaf in leaves]
        assert by_key is not None, "every answer that needs a gradient follows from the keys"
        by_mean = by_key.movedim(3, 0)  # [E, B, Ph, Pw, C]
        for number, e in enumerate(ctx.own):
            if e is not None and (by_query := others[number]) is not None:
                by_mean[e] += by_query
                others[number] = None
        needed = ctx.needs_input_grad[6 : 6 + len(maps)]
        through = _map_gradients(gradient, maps, weights, by_mean, ctx.patch, needed)
        return None, None, None, None, None, None, *through, *others


def _record(
    attend: Attend, keys: Tensor, rest: Sequence[Tensor], count: int
) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    """The answers to `count` queries and the keys, and the leaves of their graph: keys, queries, parameters."""
    # it must not reach into what they were computed from
    queries = [q.detach().requires_grad_(q.requires_grad) for q in rest[:count]]
    leaves = [keys.detach().requires_grad_(), *queries, *rest[count:]]
    with torch.enable_grad():
        return tuple(attend(queries, leaves[0])), leaves


def _map_gradients(
    gradient: Tensor | None,
    maps: Sequence[Tensor],
    weights: Tensor,
    by_mean: Tensor,
    patch: int | None,
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """Each needed map's gradient, through its mean (by_mean, [E, B, Ph, Pw, C], spread) and the sum (gradient times weight)."""
    size = (maps[0].shape[-2], maps[0].shape[-1])
    shares = by_mean / areas(size, patch, weights)
    rows = None if gradient is None or patch is None else patch_rows(gradient, patch)
    factors = by_pixel(weights, size, patch) if rows is None else by_run(weights)
    # one place for the patches' shares as runs of pixels, map after map: it stays in the cache
    runs = None if rows is None else rows.new_empty(*rows.shape[:2], 1, *rows.shape[3:1:-1], shares.shape[-1])
    found: list[Tensor | None] = []
    for f, share, factor, need in zip(maps, shares, factors, needed, strict=True):
        if not need:
            found.append(None)
        elif gradient is None:
            found.append(as_map(share, size, patch).expand_as(f))
        else:
            # into a map of its own, no view: autograd adds the next node's gradient to it in place
            full = torch.empty_like(gradient)
            if rows is None or runs is None:
                torch.addcmul(as_map(share, size, patch), gradient, factor, out=full)
            else:
                runs.copy_(share[:, :, None, :, None])  # [B, Ph, 1, Pw, patch, C]
                torch.addcmul(runs.flatten(-2), rows, factor, out=patch_rows(full, rows.shape[2]))
            found.append(full)
    return found


def _weight_gradient(gradient: Tensor, maps: Sequence[Tensor], weights: Tensor, patch: int | None) -> Tensor:
    """The sum over each patch and the channels of gradient times map: as weights, [B or 1, Ph, Pw, E]."""
    rows = None if patch is None else patch_rows(gradient, patch)
    if patch is None:
        flat = _flat(gradient, gradient)
        per_sample = torch.stack([_products(flat, _flat(f, gradient)) for f in maps], dim=-1)[:, None, None]
    elif rows is not None:
        flat = rows.flatten(0, 3)  # [B * Ph * patch * Pw, patch * C]
        sums = torch.stack([_products(flat, _flat(f, gradient).view_as(flat)) for f in maps])
        per_sample = sums.view(len(maps), *rows.shape[:4]).sum(3).movedim(0, -1)
    else:
        product = torch.empty_like(gradient)
        planes = torch.stack([torch.mul(gradient, f, out=product).sum(1) for f in maps], dim=1)  # [B, E, H, W]
        per_sample = patch_means(planes, patch)
        per_sample = per_sample * areas((planes.shape[-2], planes.shape[-1]), patch, per_sample)
    return per_sample.sum(0, keepdim=True) if len(weights) == 1 < len(per_sample) else per_sample


def _flat(x: Tensor, like: Tensor) -> Tensor:
    """A map [B, C, H, W] as [B, C * H * W] in the order in which `like` lies in memory."""
    return (x.permute(0, 2, 3, 1) if _is_channels_last(like) else x).reshape(len(x), -1)


def _products(one: Tensor, other: Tensor) -> Tensor:
    """The inner products of the rows of two matrices [R, K]: [R].

    On a CPU by the gradient that a group norm has by its scale where each row is a group of its own, of mean 0 and variance
    1: that multiplies and adds up in one pass, and was the fastest of what was tried.
    """
    rows, length = one.shape
    if one.device.type != "cpu":
        return cast(Tensor, torch.linalg.vecdot(one, other))
    zeros, ones = one.new_zeros(1, rows), one.new_ones(1, rows)
    found = torch.ops.aten.native_group_norm_backward(
        one[None], other[None], zeros, ones, ones[0], 1, rows, length, rows, [False, True, False]
    )
    return cast(Tensor, found[1])


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


def _like(gradient: Tensor, of: Tensor) -> Tensor:
    """The gradient in the memory layout of the maps: mixed layouts are many times slower."""
    return gradient.contiguous(memory_format=torch.channels_last if _is_channels_last(of) else torch.contiguous_format)
