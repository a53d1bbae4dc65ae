"""DARTS: static parameters, one set for each type of cell (arXiv 1806.09055, equation 2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from midas.search.arms.base import Arm, Choice, NodeSite, by_edge, flat, operations_only, pairs_and_operations


class DartsArm(Arm):
    """A softmax over the operations of each edge; all edges are added in full."""

    def __init__(self, sites: Sequence[NodeSite]) -> None:
        super().__init__()
        self.alphas = nn.ParameterDict()  # [n, m] for each node of a type of cell
        self.nodes = {site.shared_name: site for site in sites}
        for site in self.nodes.values():
            most = max(len(edge.candidates) for edge in site.edges)
            self.alphas[site.shared_name] = nn.Parameter(1e-3 * torch.randn(len(site.edges), most))

    def logits(self, site: NodeSite) -> Tensor:
        """The node's parameters, [1, 1, 1, n, m], -inf where an edge has fewer candidates."""
        return by_edge(flat(self.alphas[site.shared_name], site), site)[None, None, None]

    def forward(self, site: NodeSite, inputs: Sequence[Tensor], maps: Sequence[Tensor]) -> Choice:
        """See `Arm`."""
        return operations_only(self.logits(site), site)


class DartsPairsArm(DartsArm):
    """Static parameters under MIDAS's pair rule: what is left of MIDAS without its input-specific weights."""

    def forward(self, site: NodeSite, inputs: Sequence[Tensor], maps: Sequence[Tensor]) -> Choice:
        """See `Arm`."""
        return pairs_and_operations(self.logits(site), site)


class BetaDartsArm(DartsArm):
    """Static parameters kept small by the mean log-sum-exp over edges (beta-DARTS, arXiv 2203.01665, equation 12).

    Its weight grows linearly with the epochs done, from 0, and would be `LARGEST` after the last.
    """

    LARGEST = 50.0
    weight = 0.0

    def set_progress(self, epoch: int, epochs: int) -> None:
        """See `Arm`."""
        self.weight = self.LARGEST * epoch / epochs

    def penalty(self) -> Tensor:
        """See `Arm`."""
        edges = [torch.logsumexp(alpha, dim=-1) for alpha in self.alphas.values()]
        return self.weight * torch.cat(edges).mean()
