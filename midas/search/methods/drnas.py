"""DrNAS: an edge's weights are drawn from a learned Dirichlet distribution (arXiv 2006.10355)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Dirichlet
from torch.nn import functional as F

from midas.search.methods.base import ArchWeights, NodeSpec, Tensors, flatten_edges
from midas.search.methods.darts import DartsMethod


class DrnasMethod(DartsMethod):
    """theta ~ Dir(elu(alpha) + 1), drawn once a pass for all cells of a type; decoded by its mean.

    `ANCHOR` times the squared distance of the concentration from 1 replaces weight decay
    (section 3.2).
    """

    ANCHOR = 1e-3
    decays = False
    repeats = False  # torch reads a Dirichlet distribution's parameters on the host

    def __init__(self, node_specs: Sequence[NodeSpec]) -> None:
        super().__init__(node_specs)
        self.theta: dict[str, Tensor] = {}  # [n, m] for each node of a type of cell

    def begin_pass(self) -> None:
        """See `Method`."""
        self.theta = {name: self._draw(node) for name, node in self.shared_nodes.items()}

    def forward(self, node: NodeSpec, inputs: Tensors, op_outputs: Tensors) -> ArchWeights:
        """See `Method`."""
        op_weights = self.theta[node.shared_name][None, None, None]  # [1, 1, 1, n, m]
        return ArchWeights(flatten_edges(op_weights, node), op_weights)

    def penalty(self) -> Tensor:
        """See `Method`."""
        squares = [F.elu(alpha).square().sum() for alpha in self.alphas.values()]
        return self.ANCHOR * torch.stack(squares).sum()

    def _draw(self, node: NodeSpec) -> Tensor:
        """A draw in training, else the mean, [n, m]. Each edge draws among its own candidates."""
        alpha = self.alphas[node.shared_name]
        rows = []
        for row, count in zip(alpha, node.op_counts, strict=True):
            distribution = Dirichlet(F.elu(row[:count]) + 1)
            theta = distribution.rsample() if self.training else distribution.mean
            rows.append(F.pad(theta, (0, alpha.shape[1] - count)))
        return torch.stack(rows)
