"""DARTS and its kin: static parameters, one set for each type of cell.

Sources: DARTS, arXiv 1806.09055, equation 2; beta-DARTS, arXiv 2203.01665, equation 12; DrNAS,
arXiv 2006.10355, section 3.2; GDAS, arXiv 1910.04465, equations 3 to 7.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Dirichlet
from torch.nn import functional as F

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
        return softmax_every_edge(self.logits(node), node)


class DartsPairsMethod(DartsMethod):
    """Static parameters under MIDAS's pair rule: MIDAS without its input-specific weights."""

    def forward(self, node: NodeSpec, inputs: Tensors, op_outputs: Tensors) -> ArchWeights:
        return softmax_pairs(self.logits(node), node)


class BetaDartsMethod(DartsMethod):
    """beta-DARTS: a penalty on the mean log-sum-exp over edges, which grows from 0 to `LARGEST`."""

    LARGEST = 50.0
    weight = 0.0

    def set_progress(self, epoch: int, epochs: int) -> None:
        self.weight = self.LARGEST * epoch / epochs

    def penalty(self) -> Tensor:
        edges = [torch.logsumexp(alpha, dim=-1) for alpha in self.alphas.values()]
        return self.weight * torch.cat(edges).mean()


class DrnasMethod(DartsMethod):
    """DrNAS: theta ~ Dir(elu(alpha) + 1), drawn once a pass; its mean is decoded."""

    ANCHOR = 1e-3  # weight of the squared distance of the concentration from 1
    decays = False
    repeats = False  # torch reads a Dirichlet distribution's parameters on the host

    def __init__(self, node_specs: Sequence[NodeSpec]) -> None:
        super().__init__(node_specs)
        self.theta: dict[str, Tensor] = {}  # [n, m] for each node of a type of cell

    def begin_pass(self) -> None:
        self.theta = {name: self._draw(node) for name, node in self.shared_nodes.items()}

    def forward(self, node: NodeSpec, inputs: Tensors, op_outputs: Tensors) -> ArchWeights:
        op_weights = self.theta[node.shared_name][None, None, None]  # [1, 1, 1, n, m]
        return ArchWeights(flatten_edges(op_weights, node), op_weights)

    def penalty(self) -> Tensor:
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


class GdasMethod(DartsMethod):
    """GDAS: one drawn operation an edge is computed; the parameters' softmax is decoded."""

    TAU_MAX = 10.0
    TAU_MIN = 0.1
    repeats = False

    def __init__(self, node_specs: Sequence[NodeSpec]) -> None:
        super().__init__(node_specs)
        self.tau = self.TAU_MAX
        self.one_hot: dict[str, Tensor] = {}  # [n, m] for each node of a type of cell

    def set_progress(self, epoch: int, epochs: int) -> None:
        self.tau = self.TAU_MAX + (self.TAU_MIN - self.TAU_MAX) * epoch / max(1, epochs - 1)

    def begin_pass(self) -> None:
        if self.training:
            self.one_hot = {name: self._draw(node) for name, node in self.shared_nodes.items()}

    def active_ops(self, node: NodeSpec) -> Sequence[Sequence[int]]:
        if not self.training:
            return super().active_ops(node)
        return [[int(row.argmax())] for row in self.one_hot[node.shared_name].detach()]

    def forward(self, node: NodeSpec, inputs: Tensors, op_outputs: Tensors) -> ArchWeights:
        if not self.training:
            return softmax_every_edge(self.logits(node), node)
        # [1, 1, 1, n, m]: ones and zeros with the gradient of the relaxed weights
        op_weights = self.one_hot[node.shared_name][None, None, None]
        most = op_weights.shape[-1]
        active = [i * most + j for i, (j,) in enumerate(self.active_ops(node))]
        return ArchWeights(op_weights.flatten(-2)[..., active], op_weights)

    def _draw(self, node: NodeSpec) -> Tensor:
        logits = torch.log_softmax(self.logits(node)[0, 0, 0], dim=-1)
        return F.gumbel_softmax(logits, tau=self.tau, hard=True)
