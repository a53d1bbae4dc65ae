"""A fixed cell inside the supernet, and random search, which trains it by random cells."""

from collections.abc import Mapping, Sequence
from functools import reduce

import torch

from midas.genotype import CellGenotype, Edge, Genotype
from midas.search.edge_pairs import pairs
from midas.search.methods.base import (
    ArchWeights,
    Method,
    Mixed,
    NodeSpec,
    Tensors,
    by_edge,
    softmax_every_edge,
)
from midas.spaces.space import EdgeSpec, Space


class FixedCell(Method):
    """A decoded cell: the kept edges in full, one operation on each. Nothing else is computed."""

    def __init__(self, cells: Mapping[str, CellGenotype]) -> None:
        super().__init__()
        self.set_cells(cells)

    def set_cells(self, cells: Mapping[str, CellGenotype]) -> None:
        """Compute these cells from now on."""
        self.ops = {
            kind: {(edge.source, edge.target): edge.op for edge in cell.edges}
            for kind, cell in cells.items()
        }

    def active_ops(self, node: NodeSpec) -> Sequence[Sequence[int]]:
        """The chosen candidate of each kept edge."""
        ops = [self.ops[node.kind].get((edge.source, edge.target)) for edge in node.edges]
        return [
            [] if op is None else [edge.candidates.index(op)]
            for edge, op in zip(node.edges, ops, strict=True)
        ]

    def forward(self, node: NodeSpec, inputs: Tensors, op_outputs: Tensors) -> ArchWeights:
        op_weights = op_outputs[0].new_zeros(1, 1, 1, len(node.edges), max(node.op_counts))
        for i, active in enumerate(self.active_ops(node)):
            for j in active:
                op_weights[..., i, j].fill_(1)  # a list as an index would be copied to the device
        mixing = op_outputs[0].new_ones(1, 1, 1, len(op_outputs))
        return ArchWeights(mixing, op_weights, edge_probs=op_weights.sum(-1))

    def mixed_op(self, node: NodeSpec, inputs: Tensors, op_outputs: Tensors) -> Mixed:
        """A plain sum, since every kept edge counts in full."""
        return reduce(torch.add, op_outputs), self(node, inputs, op_outputs)


class RandomMethod(FixedCell):
    """Random search with weight sharing (arXiv 1902.07638, 3.2): a random cell each pass."""

    repeats = False

    def __init__(self, space: Space) -> None:
        self.space = space
        super().__init__(random_genotype(space, torch.Generator().manual_seed(0)).cells)

    def begin_pass(self) -> None:
        if self.training:
            self.set_cells(random_genotype(self.space, None).cells)

    def active_ops(self, node: NodeSpec) -> Sequence[Sequence[int]]:
        return super().active_ops(node) if self.training else Method.active_ops(self, node)

    def forward(self, node: NodeSpec, inputs: Tensors, op_outputs: Tensors) -> ArchWeights:
        if self.training:
            return super().forward(node, inputs, op_outputs)
        equal = op_outputs[0].new_zeros(1, 1, 1, len(op_outputs))  # logits of all candidates
        return softmax_every_edge(by_edge(equal, node), node)

    def mixed_op(self, node: NodeSpec, inputs: Tensors, op_outputs: Tensors) -> Mixed:
        if self.training:
            return super().mixed_op(node, inputs, op_outputs)
        return Method.mixed_op(self, node, inputs, op_outputs)


def random_genotype(space: Space, generator: torch.Generator | None) -> Genotype:
    """A cell drawn uniformly; only a space that keeps all edges may draw `none`."""

    def below(limit: int) -> int:
        return int(torch.randint(limit, (), generator=generator))

    def draw_op(edge: EdgeSpec) -> str:
        names = [op for op in edge.candidates if space.keep is None or op != "none"] or ["none"]
        return names[below(len(names))]

    cells = {}
    for kind in space.edges:
        edges = []
        for specs in space.nodes(kind):
            if space.keep is not None and len(specs) > space.keep:
                choices = pairs(len(specs))
                first, second = choices[below(len(choices))]
                specs = [specs[first], specs[second]]
            edges += [Edge(draw_op(spec), spec.source, spec.target) for spec in specs]
        cells[kind] = CellGenotype(tuple(edges), space.concat)
    return Genotype(space.name, cells)
