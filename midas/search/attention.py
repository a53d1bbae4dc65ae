"""Mosaic attention: input-specific operation logits, one set for each patch of a node's output map.

Source: our reading, METHOD.md section 2; patchwise dot-product attention is MIDAS, arXiv 2602.17700, figure 1. What the
paper leaves open (one key projection for all candidates of a node, layer-normalised queries and keys) follows METHOD.md
section 3.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
            candidates: the patch means of the E candidate maps, [B, Ph, Pw, E, C].

        Returns:
            l_e = q . k_e / sqrt(d), [B, Ph, Pw, E].
        """
        query = self.query(torch.cat([self._normal(x) for x in inputs], dim=-1)) / math.sqrt(
            self.width
        )  # [B, Ph, Pw, d]
        keys = self._normal(candidates)
        if self.key.bias is None:
            # q . (W k) = (W^T q) . k: one projection of the query in place of one of each of the E keys
            back = query @ self.key.weight  # [B, Ph, Pw, C]
            return (keys * back.unsqueeze(-2)).sum(-1)  # faster than many small matrix products
        own = self.key.weight.view(-1, self.width, self.channels)  # [E, d, C]
        back = torch.einsum("bhwd,edc->bhwec", query, own)
        static: Tensor = query @ self.key.bias.view(-1, self.width).T
        return (keys * back).sum(-1) + static

    def _normal(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (self.channels,)) if self.normalise else x
