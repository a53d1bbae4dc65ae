"""DrNAS: the operation weights of an edge are drawn from a Dirichlet distribution that is learned (arXiv 2006.10355)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Dirichlet
from torch.nn import functional as F

from midas.search.arms.base import Choice, NodeSite, flat
from midas.search.arms.static import DartsArm


class DrnasArm(DartsArm):
    """theta ~ Dir(elu(alpha) + 1), drawn anew for each pass and shared by the cells of a type; decoded by its mean.

    The concentration is held near 1 by `ANCHOR` times its squared distance, in place of weight decay (section 3.2).
    Edges with fewer candidates than others draw among their own.
    """

    ANCHOR = 1e-3
    decays = repeats = False  # torch looks at a Dirichlet distribution's parameters on the host

    def __init__(self, sites: Sequence[NodeSite]) -> None:
        super().__init__(sites)
        self.drawn: dict[str, Tensor] = {}

    def begin_pass(self) -> None:
        """See `Arm`."""
        self.drawn = {name: self._weights(site) for name, site in self.nodes.items()}

    def forward(self, site: NodeSite, inputs: Sequence[Tensor], maps: Sequence[Tensor]) -> Choice:
        """See `Arm`."""
        a = self.drawn[site.shared_name][None, None, None]  # [1, 1, 1, n, m]
        return Choice(flat(a, site), a)

    def penalty(self) -> Tensor:
        """See `Arm`."""
        return self.ANCHOR * torch.stack([F.elu(alpha).square().sum() for alpha in self.alphas.values()]).sum()

    def _weights(self, site: NodeSite) -> Tensor:
        """A draw in training, else the mean: [n, m]."""
        alpha = self.alphas[site.shared_name]
        rows = []
        for row, edge in zip(alpha, site.edges, strict=True):
            concentration = F.elu(row[: len(edge.candidates)]) + 1
            theta = Dirichlet(concentration).rsample() if self.training else concentration / concentration.sum()
            rows.append(F.pad(theta, (0, alpha.shape[1] - len(theta))))
        return torch.stack(rows)
