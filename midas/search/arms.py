"""The arms: how a node's candidate maps are weighted. All have one interface, so that one engine compares them.

An arm is asked once per node and forward pass. It answers with the node's output and, for decoding, with the weights it
used: operation weights a [B, Ph, Pw, n, m] and, where it has a rule for edges, pair probabilities pi [B, Ph, Pw, pairs].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from midas.genotype import CellGenotype
from midas.search.attention import MosaicAttention, patch_means, spread
from midas.search.config import SearchConfig
from midas.search.mixture import weighted_sum
from midas.search.topology import pair_marginals
from midas.spaces.space import EdgeSpec, Space


@dataclass(frozen=True)
class NodeSite:
    """Where a node stands in the supernet: which cell, of which type and width, which node of it, its incoming edges."""

    cell: int
    kind: str
    channels: int
    index: int
    edges: tuple[EdgeSpec, ...]

    @property
    def name(self) -> str:
        """A key for the node's own parameters."""
        return f"cell{self.cell}_node{self.index}"


class Choice(NamedTuple):
    """The weights a node used: a [B, Ph, Pw, n, m] (0 where an edge has fewer than m candidates), pi [B, Ph, Pw, pairs]."""

    a: Tensor
    pi: Tensor | None


class Arm(Protocol):
    """What the supernet asks of an arm."""

    def wanted(self, site: NodeSite) -> Sequence[Sequence[int]]:
        """For each edge of the node, the candidates whose maps the arm will use."""

    def __call__(self, site: NodeSite, inputs: Sequence[Tensor], maps: Sequence[Tensor]) -> tuple[Tensor, Choice]:
        """The node's output [B, C, H, W] from its inputs and the wanted candidate maps, edge by edge."""


def all_candidates(site: NodeSite) -> Sequence[Sequence[int]]:
    """Every candidate of every edge."""
    return [range(len(edge.candidates)) for edge in site.edges]


def by_edge(logits: Tensor, site: NodeSite) -> Tensor:
    """Logits [..., E] of all candidates to [..., n, m], with -inf where an edge has fewer than m candidates."""
    counts = [len(edge.candidates) for edge in site.edges]
    most = max(counts)
    if all(count == most for count in counts):
        return logits.view(*logits.shape[:-1], len(counts), most)
    rows = [
        torch.nn.functional.pad(part, (0, most - part.shape[-1]), value=float("-inf"))
        for part in torch.split(logits, counts, dim=-1)
    ]
    return torch.stack(rows, dim=-2)


def flat(weights: Tensor, site: NodeSite) -> Tensor:
    """The inverse of `by_edge`: [..., n, m] to [..., E]."""
    return torch.cat([weights[..., i, : len(edge.candidates)] for i, edge in enumerate(site.edges)], dim=-1)


class MidasArm(nn.Module):
    """Input-specific weights by mosaic attention, edges by pair marginals (METHOD.md section 2)."""

    def __init__(self, space: Space, sites: Sequence[NodeSite], config: SearchConfig) -> None:
        super().__init__()
        self.patch, self.detach, self.keep = config.patch_size, config.detach_keys, space.keep
        self.attention = nn.ModuleDict(
            {
                site.name: MosaicAttention(site.channels, len(site.edges), config.width, config.normalise)
                for site in sites
            }
        )

    def wanted(self, site: NodeSite) -> Sequence[Sequence[int]]:
        """All candidates: every one of them has a key."""
        return all_candidates(site)

    def forward(self, site: NodeSite, inputs: Sequence[Tensor], maps: Sequence[Tensor]) -> tuple[Tensor, Choice]:
        """See `Arm`."""
        size = maps[0].shape[-2:]
        means = [patch_means(f.detach() if self.detach else f, self.patch) for f in maps]
        queries = [patch_means(x, self._patch_of(x, size)) for x in inputs]
        logits = by_edge(self.attention[site.name](queries, means), site)  # [B, Ph, Pw, n, m]
        a = torch.softmax(logits, dim=-1)
        if self.keep is None:
            pi, weights = None, a
        else:
            pi, m = pair_marginals(torch.logsumexp(logits, dim=-1))
            weights = m[..., None] * a
        per_map = flat(weights, site)  # [B, Ph, Pw, E]
        pixels = [spread(w, (size[0], size[1]), self.patch) for w in per_map.unbind(-1)]
        return weighted_sum(maps, pixels), Choice(a, pi)

    def _patch_of(self, x: Tensor, size: Sequence[int]) -> int | None:
        """The side in an input's pixels of a patch of the output: twice as long where the edge has stride 2."""
        ratio = -(-x.shape[-1] // size[1])
        return None if self.patch is None or self.patch >= max(size) else self.patch * ratio


class DartsArm(nn.Module):
    """Static parameters, one set for each type of cell (DARTS, arXiv 1806.09055, equation 2): every edge is added in full."""

    def __init__(self, sites: Sequence[NodeSite]) -> None:
        super().__init__()
        self.alphas = nn.ParameterDict()
        for site in sites:
            if self._key(site) not in self.alphas:
                most = max(len(edge.candidates) for edge in site.edges)
                self.alphas[self._key(site)] = nn.Parameter(1e-3 * torch.randn(len(site.edges), most))

    @staticmethod
    def _key(site: NodeSite) -> str:
        return f"{site.kind}_node{site.index}"

    def wanted(self, site: NodeSite) -> Sequence[Sequence[int]]:
        """All candidates."""
        return all_candidates(site)

    def forward(self, site: NodeSite, inputs: Sequence[Tensor], maps: Sequence[Tensor]) -> tuple[Tensor, Choice]:
        """See `Arm`."""
        a = torch.softmax(by_edge(flat(self.alphas[self._key(site)], site), site), dim=-1)  # [n, m]
        pixels = [w.view(1, 1, 1) for w in flat(a, site).unbind(-1)]
        return weighted_sum(maps, pixels), Choice(a[None, None, None], None)


class DiscreteArm(nn.Module):
    """A decoded cell inside the supernet: the kept edges in full, one operation on each, everything else never computed."""

    def __init__(self, cells: dict[str, CellGenotype]) -> None:
        super().__init__()
        self.kept = {kind: {(e.source, e.target): e.op for e in cell.edges} for kind, cell in cells.items()}

    def wanted(self, site: NodeSite) -> Sequence[Sequence[int]]:
        """The chosen candidate of each kept edge."""
        chosen = [self.kept[site.kind].get((edge.source, edge.target)) for edge in site.edges]
        return [[] if op is None else [edge.candidates.index(op)] for edge, op in zip(site.edges, chosen, strict=True)]

    def forward(self, site: NodeSite, inputs: Sequence[Tensor], maps: Sequence[Tensor]) -> tuple[Tensor, Choice]:
        """See `Arm`."""
        total = maps[0]
        for other in maps[1:]:
            total = total + other
        return total, Choice(total.new_ones(1, 1, 1, len(site.edges), 1), None)


def build_arm(space: Space, sites: Sequence[NodeSite], config: SearchConfig) -> MidasArm | DartsArm:
    """The arm that the configuration names."""
    return MidasArm(space, sites, config) if config.arm == "midas" else DartsArm(sites)
