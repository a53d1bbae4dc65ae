"""Mosaic attention: logits of a node's candidate operations, from the input and for each patch.

Source: MIDAS, arXiv 2602.17700, figure 1. What the paper leaves open (one key projection for all
candidates of a node, layer-normalised queries and keys) is our reading, docs/method.md.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MosaicAttention(nn.Module):
    """The query and key projections of a node with n inputs of C channels; keys have width d."""

    def __init__(self, channels: int, inputs: int, width: int, normalise: bool) -> None:
        super().__init__()
        self.channels = channels
        self.width = width
        self.normalise = normalise
        self.query = nn.Linear(inputs * channels, width)
        self.key = nn.Linear(channels, width, bias=False)  # a bias would cancel in every softmax

    def forward(self, inputs: Sequence[Tensor], candidates: Tensor) -> Tensor:
        """The logits q . k_e / sqrt(d) of the E candidates, [B, Ph, Pw, E].

        They follow from the patch means of the inputs, each [B, Ph, Pw, C], and of the candidates'
        outputs, [B, Ph, Pw, E, C].
        """
        pooled = torch.stack(list(inputs), dim=-2)  # [B, Ph, Pw, n, C]
        if self.normalise:
            pooled = F.layer_norm(pooled, (self.channels,))
            candidates = F.layer_norm(candidates, (self.channels,))
        query = self.query(pooled.flatten(-2)) / math.sqrt(self.width)  # [B, Ph, Pw, d]
        # q . (W k) = (W^T q) . k: one projection of the query replaces one of each key
        return torch.einsum("bhwc,bhwec->bhwe", query @ self.key.weight, candidates)
