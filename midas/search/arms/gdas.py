"""GDAS: one operation an edge, drawn by the straight-through Gumbel softmax (arXiv 1910.04465, equations 3 to 7)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from midas.search.arms.base import Choice, NodeSite, operations_only
from midas.search.arms.static import DartsArm


class GdasArm(DartsArm):
    """Only the drawn operation of each edge is computed; it is shared by the cells of a type.

    The temperature falls linearly from 10 in the first epoch to 0.1 in the last. Decoding reads the softmax of the parameters.
    """

    repeats = False
    HOTTEST, COLDEST = 10.0, 0.1

    def __init__(self, sites: Sequence[NodeSite]) -> None:
        super().__init__(sites)
        self.temperature = self.HOTTEST
        self.drawn: dict[str, Tensor] = {}

    def set_progress(self, epoch: int, epochs: int) -> None:
        """See `Arm`."""
        self.temperature = self.HOTTEST + (self.COLDEST - self.HOTTEST) * epoch / max(1, epochs - 1)

    def begin_pass(self) -> None:
        """See `Arm`."""
        if self.training:
            self.drawn = {name: self._one_hot(site) for name, site in self.nodes.items()}

    def wanted(self, site: NodeSite) -> Sequence[Sequence[int]]:
        """See `Arm`."""
        if not self.training:
            return super().wanted(site)
        return [[int(row.argmax())] for row in self.drawn[site.shared_name].detach()]

    def forward(self, site: NodeSite, inputs: Sequence[Tensor], maps: Sequence[Tensor]) -> Choice:
        """See `Arm`."""
        if not self.training:
            return operations_only(self.logits(site), site)
        a = self.drawn[site.shared_name][
            None, None, None
        ]  # [1, 1, 1, n, m], ones with the gradient of the relaxed weights
        chosen = [i * a.shape[-1] + j for i, (j,) in enumerate(self.wanted(site))]
        return Choice(a.flatten(-2)[..., chosen], a)

    def _one_hot(self, site: NodeSite) -> Tensor:
        """A draw for the node, [n, m]."""
        logits = torch.log_softmax(self.logits(site)[0, 0, 0], dim=-1)
        return F.gumbel_softmax(logits, tau=self.temperature, hard=True)
