"""MIDAS: input-specific operation weights by mosaic attention, edges by pair marginals.

Source: MIDAS, arXiv 2602.17700, as docs/method.md reads it.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas.kernels.build import compatible, usable
from midas.search import node_kernel
from midas.search.config import SearchConfig
from midas.search.methods.base import (
    ArchWeights,
    Method,
    Mixed,
    NodeSpec,
    Tensors,
    by_edge,
    softmax_every_edge,
    softmax_pairs,
)
from midas.search.mixed_op import patch_means
from midas.spaces.space import Space


class MosaicAttention(nn.Module):
    """The query and key projections of a node with n inputs of C channels; keys have width d."""

    def __init__(self, channels: int, inputs: int, width: int) -> None:
        super().__init__()
        self.channels = channels
        self.width = width
        self.query = nn.Linear(inputs * channels, width)
        self.key = nn.Linear(channels, width, bias=False)  # a bias would cancel in every softmax

    def forward(self, inputs: Sequence[Tensor], candidates: Tensor) -> Tensor:
        """The logits q . k_e / sqrt(d) of the E candidates, [B, Ph, Pw, E].

        They follow from patch means of inputs [B, Ph, Pw, C] and candidates [B, Ph, Pw, E, C].
        """
        pooled = torch.stack(list(inputs), dim=-2)  # [B, Ph, Pw, n, C]
        pooled = F.layer_norm(pooled, (self.channels,))
        candidates = F.layer_norm(candidates, (self.channels,))
        query = self.query(pooled.flatten(-2)) / math.sqrt(self.width)  # [B, Ph, Pw, d]
        # q . (W k) = (W^T q) . k: one projection of the query replaces one of each key
        return torch.einsum("bhwc,bhwec->bhwe", query @ self.key.weight, candidates)


class MidasMethod(Method):
    """One query and one key projection a node of a cell; every weight follows from the input."""

    def __init__(self, space: Space, node_specs: Sequence[NodeSpec], config: SearchConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.pair_rule = space.keep is not None
        self.attention = nn.ModuleDict()
        for node in node_specs:
            attention = MosaicAttention(node.channels, len(node.edges), config.width)
            self.attention[node.name] = attention
        # patch means of a cell's inputs: several nodes and skip connections ask for the same ones
        self.pooled: dict[tuple[int, int | None], tuple[Tensor, Tensor]] = {}

    def begin_pass(self) -> None:
        """Forget the last cell's inputs, which would keep everything behind them alive."""
        self.pooled = {}

    begin_cell = begin_pass

    def forward(self, node: NodeSpec, inputs: Tensors, op_outputs: Tensors) -> ArchWeights:
        queries, patch = self._pooled_inputs(inputs, op_outputs)
        # a skip connection's output is an input, which is pooled already
        pooled = [self.pooled.get((id(x), patch)) or (x, patch_means(x, patch)) for x in op_outputs]
        keys = torch.stack([means for _, means in pooled], dim=3)
        logits = by_edge(self.attention[node.name](queries, keys), node)
        softmax = softmax_pairs if self.pair_rule else softmax_every_edge
        return softmax(logits, node, patch)

    def mixed_op(self, node: NodeSpec, inputs: Tensors, op_outputs: Tensors) -> Mixed:
        """On a CPU one kernel pools the outputs, weighs them and adds them up."""
        attention = cast(MosaicAttention, self.attention[node.name])
        projections = node_kernel.Projections(
            attention.query.weight, attention.query.bias, attention.key.weight
        )
        if not (
            usable(node_kernel.SOURCE, *op_outputs) and compatible(op_outputs[0], *projections)
        ):
            return super().mixed_op(node, inputs, op_outputs)
        queries, patch = self._pooled_inputs(inputs, op_outputs)
        # a skip connection's output is the input itself: the kernel joins their means' gradients
        skips = [next((e for e, f in enumerate(op_outputs) if f is x), -1) for x in inputs]
        kernel = node_kernel.NodeKernel(op_outputs, patch, node.op_counts, self.pair_rule, skips)
        output, weights = node_kernel.attended_sum(kernel, op_outputs, queries, projections)
        arch_weights = ArchWeights(*weights, patch)
        if not self.pair_rule:
            arch_weights = arch_weights._replace(pair_probs=None, edge_probs=None)
        return output, arch_weights

    def _pooled_inputs(
        self, inputs: Tensors, op_outputs: Tensors
    ) -> tuple[list[Tensor], int | None]:
        """The inputs' patch means [B, Ph, Pw, C], and the side of a patch on this node's map."""
        size = op_outputs[0].shape[-2:]
        patch = self.patch_size
        if patch is not None and patch >= max(size):
            patch = None
        means = []
        for x in inputs:
            # behind an edge of stride 2, a patch of the output covers one of twice the side
            input_patch = patch and patch * -(-x.shape[-1] // size[1])
            if (id(x), input_patch) not in self.pooled:
                self.pooled[id(x), input_patch] = (x, patch_means(x, input_patch))
            means.append(self.pooled[id(x), input_patch][1])
        return means, patch
