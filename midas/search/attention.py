"""Mosaic attention: input-specific operation logits, one set for each patch of a node's output map.

Source: our reading, docs/method.md; patchwise dot-product attention is MIDAS, arXiv 2602.17700, figure 1. What the
paper leaves open (one key projection for all candidates of a node, layer-normalised queries and keys) is answered there.
"""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from midas.native.node import Projections

_EPSILON = 1e-5  # as in `torch.nn.functional.layer_norm`


class MosaicAttention(nn.Module):
    """The query and key projections of one node.

    Args:
        channels: channels of the node's inputs and candidate maps.
        inputs: the number n of the node's inputs.
        width: the dimension d of queries and keys.
        normalise: layer-normalise (no affine) each pooled input and candidate over its channels before its projection.
        separate: how many candidates have a key projection of their own, with bias; None is one projection for all.
        zero: start with keys of 0 and so with uniform weights; else from torch's initialisation of a linear layer.
    """

    def __init__(
        self, channels: int, inputs: int, width: int, normalise: bool, separate: int | None = None, zero: bool = False
    ) -> None:
        super().__init__()
        self.channels, self.width, self.normalise = channels, width, normalise
        self.query = nn.Linear(inputs * channels, width)
        # A bias of a shared projection would add the same constant to every logit of the node and cancel everywhere: there
        # is none. Of a projection of its own it is, with the query's, a static parameter.
        self.key = nn.Linear(channels, width * (separate or 1), bias=separate is not None)
        if zero:  # the random query still gives the keys a gradient
            for parameter in self.key.parameters():
                nn.init.zeros_(parameter)

    def forward(self, inputs: Sequence[Tensor], candidates: Tensor) -> Tensor:
        """Logits of all candidates of the node.

        Args:
            inputs: the patch means of the n inputs, each [B, Ph, Pw, C].
            candidates: the patch means of the E candidate maps, [B, Ph, Pw, E, C]; best as a view of [E, B, Ph, Pw, C].

        Returns:
            l_e = q . k_e / sqrt(d), [B, Ph, Pw, E], a view of [E, B, Ph, Pw].
        """
        keys = candidates.movedim(3, 0)  # [E, B, Ph, Pw, C]
        pooled = torch.stack(list(inputs), dim=-2)  # [B, Ph, Pw, n, C]
        pooled = F.layer_norm(pooled, (self.channels,)) if self.normalise else pooled
        query: Tensor = self.query(pooled.flatten(-2)) / math.sqrt(self.width)  # [B, Ph, Pw, d]
        # q . (W k) = (W^T q) . k: one projection of the query in place of one of each of the E keys
        if self.key.bias is None:
            logits = self._product(keys, (query @ self.key.weight)[None])
        else:
            own = self.key.weight.view(-1, self.width, self.channels)  # [E, d, C]
            static = (query @ self.key.bias.view(-1, self.width).T).movedim(-1, 0)
            logits = self._product(keys, torch.einsum("bhwd,edc->ebhwc", query, own)) + static
        return logits.movedim(0, 3)

    def projections(self) -> Projections:
        """The parameters, where all candidates share a key projection, as the kernels take them."""
        return Projections(self.query.weight, self.query.bias, self.key.weight)

    def _product(self, keys: Tensor, back: Tensor) -> Tensor:
        """Keys [E, ..., C], normalised here where they are, times queries [1 or E, ..., C] in the keys' space: [E, ...]."""
        return cast(Tensor, _NormalProduct.apply(keys, back)) if self.normalise else (keys * back).sum(-1)


class _NormalProduct(torch.autograd.Function):
    """`(layer_norm(keys) * back).sum(-1)`; the normalised keys are never formed.

    The sums over the few channels of many patches are products with a vector of ones: BLAS does those several times faster
    than a reduction does.
    """

    @staticmethod
    def forward(ctx: Any, keys: Tensor, back: Tensor) -> Tensor:
        count = keys.shape[-1]
        ones = keys.new_ones(count)
        centred = keys - (keys @ ones).div_(count).unsqueeze(-1)
        product = centred * centred
        inverse = torch.rsqrt((product @ ones).div_(count).add_(_EPSILON))  # of the standard deviation
        logits = (torch.mul(centred, back, out=product) @ ones).mul_(inverse)
        ctx.save_for_backward(centred, back, inverse, logits)
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        centred, back, inverse, logits = ctx.saved_tensors
        scaled, by_keys, by_back = (gradients[0] * inverse).unsqueeze(-1), None, None
        if ctx.needs_input_grad[1]:
            by_back = centred * scaled
            by_back = by_back.sum(0, keepdim=True) if len(back) == 1 else by_back
        if ctx.needs_input_grad[0]:
            share = (scaled.squeeze(-1) * logits * inverse).div_(-centred.shape[-1]).unsqueeze(-1)
            by_keys = ((back - back.mean(-1, keepdim=True)) * scaled).addcmul_(centred, share)
        return by_keys, by_back
