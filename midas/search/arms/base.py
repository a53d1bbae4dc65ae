"""What an arm is: it says how the candidate maps of a node are weighted. All arms have one interface, one engine runs them.

A node asks its arm once in a forward pass and adds up the maps as the answer says; decoding reads the same answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from midas.search.mixture import weighted_sum
from midas.search.topology import pair_marginals
from midas.spaces.space import EdgeSpec


@dataclass(frozen=True)
class NodeSite:
    """Where a node stands in the supernet: which cell, of which type and width, which node of it, its incoming edges."""

    cell: int
    kind: str
    channels: int  # of the maps that are weighted
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


class Choice(NamedTuple):
    """An arm's answer for one node. B is 1 where it is the same for all samples, and so are Ph and Pw for all patches.

    Attributes:
        weights: of the wanted maps, edge by edge, [B, Ph, Pw, E]: what the node adds up.
        a: operation weights on each edge [B, Ph, Pw, n, m], 0 where an edge has fewer than m candidates.
        pi: probability of each pair of edges [B, Ph, Pw, pairs], where the arm has a rule for edges.
        m: probability that an edge is kept [B, Ph, Pw, n]; None where every edge counts in full.
        patch: the patch's side in pixels of the node's map, None for one patch.
    """

    weights: Tensor
    a: Tensor
    pi: Tensor | None = None
    m: Tensor | None = None
    patch: int | None = None

    def tensors(self) -> list[Tensor]:
        """Weights, a and, where there is a rule for edges, pi and m."""
        return [t for t in (self.weights, self.a, self.pi, self.m) if t is not None]

    @staticmethod
    def of(tensors: Sequence[Tensor], patch: int | None) -> "Choice":
        """The inverse of `tensors`."""
        weights, a, pi, m = [*tensors, None, None][:4]
        assert weights is not None
        assert a is not None
        return Choice(weights, a, pi, m, patch)


class Arm(nn.Module):
    """The interface, with the answers of an arm that draws nothing and regularises nothing."""

    decays = True  # whether the optimiser's weight decay acts on its parameters
    repeats = True  # whether every pass in training runs the same kernels, so that they can be recorded

    def begin_pass(self) -> None:
        """Called before each forward pass of the supernet: here an arm draws what it draws, from torch's generator."""

    def begin_cell(self) -> None:
        """Called before each cell of a pass, and before it is run again for the backward pass of a checkpointed search."""

    def set_progress(self, epoch: int, epochs: int) -> None:
        """Called before each epoch with its number, from 0, and how many the search has."""

    def penalty(self) -> Tensor | None:
        """What is added to the architecture's loss, a scalar."""
        return None

    def wanted(self, site: NodeSite) -> Sequence[Sequence[int]]:
        """For each edge of the node, the candidates whose maps are computed: all of them, unless an arm says otherwise."""
        return [range(len(edge.candidates)) for edge in site.edges]

    def forward(self, site: NodeSite, inputs: Sequence[Tensor], maps: Sequence[Tensor]) -> Choice:
        """The weights of the wanted candidate maps (each [B, C, H, W], edge by edge) of a node with these inputs."""
        raise NotImplementedError

    def mix(self, site: NodeSite, inputs: Sequence[Tensor], maps: Sequence[Tensor]) -> tuple[Tensor, Choice]:
        """The node's output [B, C, H, W], which is the weighted sum of the maps, and the weights."""
        choice: Choice = self(site, inputs, maps)
        return weighted_sum(maps, choice.weights, choice.patch), choice


def by_edge(logits: Tensor, site: NodeSite) -> Tensor:
    """Logits [..., E] of all candidates to [..., n, m], with -inf where an edge has fewer than m candidates."""
    counts = [len(edge.candidates) for edge in site.edges]
    most = max(counts)
    if all(count == most for count in counts):
        return logits.view(*logits.shape[:-1], len(counts), most)
    rows = [
        nn.functional.pad(part, (0, most - part.shape[-1]), value=float("-inf"))
        for part in torch.split(logits, counts, dim=-1)
    ]
    return torch.stack(rows, dim=-2)


def flat(weights: Tensor, site: NodeSite) -> Tensor:
    """The inverse of `by_edge`: [..., n, m] to [..., E]."""
    if all(len(edge.candidates) == weights.shape[-1] for edge in site.edges):
        return weights.flatten(-2)
    return torch.cat([weights[..., i, : len(edge.candidates)] for i, edge in enumerate(site.edges)], dim=-1)


def operation_weights(logits: Tensor) -> Tensor:
    """The softmax over the operations of each edge, [B, Ph, Pw, n, m]; over a short last axis torch's own is slow."""
    return torch.softmax(logits.movedim((-2, -1), (0, 1)), dim=1).movedim((0, 1), (-2, -1))


def operations_only(logits: Tensor, site: NodeSite, patch: int | None = None) -> Choice:
    """Every edge in full, a softmax over its operations.

    Args:
        logits: [B, Ph, Pw, n, m].
        site: the node.
        patch: the patch's side.
    """
    a = operation_weights(logits)
    return Choice(flat(a, site), a, patch=patch)


def pairs_and_operations(logits: Tensor, site: NodeSite, patch: int | None = None) -> Choice:
    """The pair rule (docs/method.md): an edge counts with its probability of being kept. Arguments as above."""
    a = operation_weights(logits)
    pi, m = pair_marginals(torch.logsumexp(logits, dim=-1))
    return Choice(flat(m[..., None] * a, site), a, pi, m, patch)
