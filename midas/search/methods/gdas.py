"""GDAS: one operation an edge, drawn by the straight-through Gumbel softmax.

Source: arXiv 1910.04465, equations 3 to 7.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from midas.search.methods.base import ArchWeights, NodeSpec, Tensors, softmax_every_edge
from midas.search.methods.darts import DartsMethod


class GdasMethod(DartsMethod):
    """Only the drawn operation of each edge is computed. The cells of a type share a draw.

    The temperature falls linearly from `TAU_MAX` in the first epoch to `TAU_MIN` in the last. The
    softmax of the parameters is decoded.
    """

    TAU_MAX = 10.0
    TAU_MIN = 0.1
    repeats = False

    def __init__(self, node_specs: Sequence[NodeSpec]) -> None:
        super().__init__(node_specs)
        self.tau = self.TAU_MAX
        self.one_hot: dict[str, Tensor] = {}  # [n, m] for each node of a type of cell

    def set_progress(self, epoch: int, epochs: int) -> None:
        """See `Method`."""
        self.tau = self.TAU_MAX + (self.TAU_MIN - self.TAU_MAX) * epoch / max(1, epochs - 1)

    def begin_pass(self) -> None:
        """See `Method`."""
        if self.training:
            self.one_hot = {name: self._draw(node) for name, node in self.shared_nodes.items()}

    def active_ops(self, node: NodeSpec) -> Sequence[Sequence[int]]:
        """See `Method`."""
        if not self.training:
            return super().active_ops(node)
        return [[int(row.argmax())] for row in self.one_hot[node.shared_name].detach()]

    def forward(self, node: NodeSpec, inputs: Tensors, op_outputs: Tensors) -> ArchWeights:
        """See `Method`."""
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
