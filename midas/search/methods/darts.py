"""DARTS: static parameters, one set for each type of cell (arXiv 1806.09055, equation 2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from midas.search.methods.base import (
    ArchWeights,
    Method,
    NodeSpec,
    Tensors,
    by_edge,
    flatten_edges,
    softmax_every_edge,
    softmax_pairs,
)


class DartsMethod(Method):
    """A softmax over the operations of each edge; all edges are added in full."""

    def __init__(self, node_specs: Sequence[NodeSpec]) -> None:
        super().__init__()
        self.alphas = nn.ParameterDict()  # [n, m] for each node of a type of cell
        self.shared_nodes = {node.shared_name: node for node in node_specs}
        for name, node in self.shared_nodes.items():
            alpha = 1e-3 * torch.randn(len(node.edges), max(node.op_counts))
            self.alphas[name] = nn.Parameter(alpha)

    def logits(self, node: NodeSpec) -> Tensor:
        """The node's parameters, [1, 1, 1, n, m], -inf where an edge has fewer candidates."""
        alpha = flatten_edges(self.alphas[node.shared_name], node)
        return by_edge(alpha, node)[None, None, None]

    def forward(self, node: NodeSpec, inputs: Tensors, op_outputs: Tensors) -> ArchWeights:
        """See `Method`."""
        return softmax_every_edge(self.logits(node), node)


class DartsPairsMethod(DartsMethod):
    """Static parameters under MIDAS's pair rule: MIDAS without its input-specific weights."""

    def forward(self, node: NodeSpec, inputs: Tensors, op_outputs: Tensors) -> ArchWeights:
        """See `Method`."""
        return softmax_pairs(self.logits(node), node)


class BetaDartsMethod(DartsMethod):
    """A penalty on the mean log-sum-exp over edges (beta-DARTS, arXiv 2203.01665, equation 12).

    Its weight grows linearly with the epochs done, from 0 towards `LARGEST`.
    """

    LARGEST = 50.0
    weight = 0.0

    def set_progress(self, epoch: int, epochs: int) -> None:
        """See `Method`."""
        self.weight = self.LARGEST * epoch / epochs

    def penalty(self) -> Tensor:
        """See `Method`."""
        edges = [torch.logsumexp(alpha, dim=-1) for alpha in self.alphas.values()]
        return self.weight * torch.cat(edges).mean()
