"""A fixed cell inside the supernet, and the arm of random search, which trains the supernet by random cells."""

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor

from midas.genotype import CellGenotype, Edge, Genotype
from midas.search.arms.base import Arm, Choice, NodeSite, operations_only
from midas.search.topology import pairs
from midas.spaces.space import Space


class DiscreteArm(Arm):
    """A decoded cell: the kept edges in full, one operation on each, everything else never computed."""

    def __init__(self, cells: Mapping[str, CellGenotype]) -> None:
        super().__init__()
        self.hold(cells)

    def hold(self, cells: Mapping[str, CellGenotype]) -> None:
        """Stand for these cells from now on."""
        self.kept = {kind: {(e.source, e.target): e.op for e in cell.edges} for kind, cell in cells.items()}

    def wanted(self, site: NodeSite) -> Sequence[Sequence[int]]:
        """See `Arm`: the chosen candidate of each kept edge."""
        chosen = [self.kept[site.kind].get((edge.source, edge.target)) for edge in site.edges]
        return [[] if op is None else [edge.candidates.index(op)] for edge, op in zip(site.edges, chosen, strict=True)]

    def forward(self, site: NodeSite, inputs: Sequence[Tensor], maps: Sequence[Tensor]) -> Choice:
        """See `Arm`."""
        most = max(len(edge.candidates) for edge in site.edges)
        a = maps[0].new_zeros(1, 1, 1, len(site.edges), most)
        for i, chosen in enumerate(self.wanted(site)):
            for j in chosen:
                a[..., i, j].fill_(1)  # a list as an index would be brought to the device each time
        return Choice(maps[0].new_ones(1, 1, 1, len(maps)), a, m=a.sum(-1))  # m: no bypass of edges that are not kept

    def mix(self, site: NodeSite, inputs: Sequence[Tensor], maps: Sequence[Tensor]) -> tuple[Tensor, Choice]:
        """See `Arm`: a plain sum, since every kept edge counts in full."""
        return reduce(torch.add, maps), self(site, inputs, maps)


class RandomArm(DiscreteArm):
    """Random search with shared weights: a random cell in each pass; the best of some random ones is decoded.

    Source: random search with weight sharing, arXiv 1902.07638, section 3.2.
    """

    repeats = False

    def __init__(self, space: Space) -> None:
        self.space = space
        super().__init__(random_genotype(space, torch.Generator().manual_seed(0)).cells)

    def begin_pass(self) -> None:
        """See `Arm`."""
        if self.training:
            self.hold(random_genotype(self.space, None).cells)

    def wanted(self, site: NodeSite) -> Sequence[Sequence[int]]:
        """See `Arm`."""
        return super().wanted(site) if self.training else Arm.wanted(self, site)

    def forward(self, site: NodeSite, inputs: Sequence[Tensor], maps: Sequence[Tensor]) -> Choice:
        """See `Arm`: one random cell in training, else all candidates alike."""
        if self.training:
            return super().forward(site, inputs, maps)
        counts = torch.tensor([[len(edge.candidates)] for edge in site.edges])
        columns = torch.arange(int(counts.max())).expand(len(counts), -1)
        logits = torch.zeros(columns.shape).masked_fill(columns >= counts, float("-inf")).to(maps[0])
        return operations_only(logits[None, None, None], site)

    def mix(self, site: NodeSite, inputs: Sequence[Tensor], maps: Sequence[Tensor]) -> tuple[Tensor, Choice]:
        """See `Arm`: by weight where all candidates are there."""
        return super().mix(site, inputs, maps) if self.training else Arm.mix(self, site, inputs, maps)


def random_genotype(space: Space, generator: torch.Generator | None) -> Genotype:
    """A cell drawn uniformly: for each node a pair of edges (or all, where the space keeps all), for each an operation.

    Args:
        space: `none` is drawn only where the space keeps all edges, as in `decode`.
        generator: None draws from torch's own.
    """

    def below(limit: int) -> int:
        return int(torch.randint(limit, (), generator=generator))

    cells = {}
    for kind in space.edges:
        edges = []
        for specs in space.nodes(kind):
            n = len(specs)
            kept = range(n) if space.keep is None or n <= space.keep else pairs(n)[below(len(pairs(n)))]
            for k in kept:
                names = [op for op in specs[k].candidates if space.keep is None or op != "none"] or ["none"]
                edges.append(Edge(names[below(len(names))], specs[k].source, specs[k].target))
        cells[kind] = CellGenotype(tuple(edges), space.concat)
    return Genotype(space.name, cells)
