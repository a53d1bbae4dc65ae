"""What a search method is: it says how the outputs of a node's candidates are weighted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas.search.edge_pairs import pair_marginals
from midas.search.mixed_op import mixed_op
from midas.spaces.space import EdgeSpec

Tensors = Sequence[Tensor]


@dataclass(frozen=True)
class NodeSpec:
    """A node of the supernet: its cell and that cell's type, its width, its place and edges."""

    cell: int
    kind: str
    channels: int
    index: int
    edges: tuple[EdgeSpec, ...]

    @property
    def name(self) -> str:
        """A key for parameters of this node of this cell."""
        return f"cell{self.cell}_node{self.index}"

    @property
    def shared_name(self) -> str:
        """A key for parameters that all cells of a type share."""
        return f"{self.kind}_node{self.index}"

    @property
    def op_counts(self) -> list[int]:
        """The number of candidates on each edge."""
        return [len(edge.candidates) for edge in self.edges]


class ArchWeights(NamedTuple):
    """A method's answer for one node of n edges with E active candidates, at most m on an edge.

    B is 1 where all samples have the same weights; Ph and Pw are 1 for one patch.
    """

    mixing: Tensor  # [B, Ph, Pw, E], of the active candidates' outputs, edge by edge
    op_weights: Tensor  # [B, Ph, Pw, n, m], 0 where an edge has fewer than m operations
    pair_probs: Tensor | None = None  # [B, Ph, Pw, pairs], of a method with a rule for edges
    edge_probs: Tensor | None = None  # [B, Ph, Pw, n], that an edge is kept; None: all are
    patch: int | None = None  # the side of a patch of the node's map; None for one patch


Mixed = tuple[Tensor, ArchWeights]  # a node's output [B, C, H, W], and the weights behind it


class Method(nn.Module):
    """The interface, with the answers of a method that draws nothing and regularises nothing."""

    decays = True  # whether the optimiser's weight decay acts on its parameters
    repeats = True  # whether all training passes run the same kernels, as a CUDA graph needs

    def begin_pass(self) -> None:
        """Called before each forward pass. A method draws here, from torch's generator."""

    def begin_cell(self) -> None:
        """Called before each cell of a pass."""

    def set_progress(self, epoch: int, epochs: int) -> None:
        """Called before each epoch, counted from 0, of so many."""

    def penalty(self) -> Tensor | None:
        """A scalar that is added to the architecture's loss."""
        return None

    def active_ops(self, node: NodeSpec) -> Sequence[Sequence[int]]:
        """For each edge of the node, the candidates whose outputs are computed: by default, all."""
        return [range(count) for count in node.op_counts]

    def forward(self, node: NodeSpec, inputs: Tensors, op_outputs: Tensors) -> ArchWeights:
        """The weights of the active candidates' outputs, which are [B, C, H, W], edge by edge."""
        raise NotImplementedError

    def mixed_op(self, node: NodeSpec, inputs: Tensors, op_outputs: Tensors) -> Mixed:
        """The node's output, which is the weighted sum of the candidates' outputs."""
        arch_weights: ArchWeights = self(node, inputs, op_outputs)
        return mixed_op(op_outputs, arch_weights.mixing, arch_weights.patch), arch_weights


def by_edge(logits: Tensor, node: NodeSpec) -> Tensor:
    """Logits [..., E] to [..., n, m], with -inf where an edge has fewer than m candidates."""
    counts = node.op_counts
    most = max(counts)
    if min(counts) == most:
        return logits.view(*logits.shape[:-1], len(counts), most)
    parts = torch.split(logits, counts, dim=-1)
    rows = [F.pad(part, (0, most - part.shape[-1]), value=-math.inf) for part in parts]
    return torch.stack(rows, dim=-2)


def flatten_edges(weights: Tensor, node: NodeSpec) -> Tensor:
    """The inverse of `by_edge`: [..., n, m] to [..., E]."""
    counts = node.op_counts
    if min(counts) == weights.shape[-1]:
        return weights.flatten(-2)
    return torch.cat([weights[..., i, :count] for i, count in enumerate(counts)], dim=-1)


def softmax_every_edge(logits: Tensor, node: NodeSpec, patch: int | None = None) -> ArchWeights:
    """A softmax over the operations of each edge, from [B, Ph, Pw, n, m]; edges count in full."""
    op_weights = _softmax_ops(logits)
    return ArchWeights(flatten_edges(op_weights, node), op_weights, patch=patch)


def softmax_pairs(logits: Tensor, node: NodeSpec, patch: int | None = None) -> ArchWeights:
    """The same, but an edge counts with its probability of being kept (docs/method.md)."""
    op_weights = _softmax_ops(logits)
    pair_probs, edge_probs = pair_marginals(torch.logsumexp(logits, dim=-1))
    mixing = flatten_edges(edge_probs[..., None] * op_weights, node)
    return ArchWeights(mixing, op_weights, pair_probs, edge_probs, patch)


def _softmax_ops(logits: Tensor) -> Tensor:
    # torch is slow over a short last axis
    return torch.softmax(logits.movedim((-2, -1), (0, 1)), dim=1).movedim((0, 1), (-2, -1))
