"""A search space as data: the edges of a cell, the candidates on each, and how many are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

from midas.genotype import Genotype
from midas.io.errors import GenotypeError, ParamsError
from midas.spaces.operations import OPERATIONS


class EdgeSpec(NamedTuple):
    """An edge of the supernet's cell, and the operations that can be chosen on it."""

    source: int
    target: int
    candidates: tuple[str, ...]


@dataclass(frozen=True)
class Space:
    """A cell-based search space. An edge with unknown or no candidates raises ParamsError."""

    name: str  # in parameters and genotypes
    skeleton: str  # how cells are stacked, ``darts`` or ``nasbench201``
    inputs: int  # input nodes of a cell; the intermediate nodes have the next numbers
    edges: Mapping[str, tuple[EdgeSpec, ...]]  # of each cell type, by target, then source
    concat: tuple[int, ...]  # the nodes whose outputs a cell joins
    keep: int | None  # edges into a node that a decoded cell keeps; None: all

    def __post_init__(self) -> None:
        for edge in (edge for edges in self.edges.values() for edge in edges):
            if not edge.candidates or not OPERATIONS.keys() >= set(edge.candidates):
                raise ParamsError(
                    f"space {self.name}: edge {edge.source}->{edge.target} has the candidates "
                    f"{list(edge.candidates)}; it needs at least one of {', '.join(OPERATIONS)}"
                )

    def nodes(self, kind: str) -> list[list[EdgeSpec]]:
        """The edges into each intermediate node of a cell type, node by node."""
        return [list(edges) for _, edges in groupby(self.edges[kind], key=lambda edge: edge.target)]

    def candidates(self, kind: str, source: int, target: int) -> tuple[str, ...]:
        """The candidates on one edge of a cell type."""
        nodes = (source, target)
        return next(edge.candidates for edge in self.edges[kind] if edge[:2] == nodes)

    def without(self, excluded: Sequence[str]) -> "Space":
        """The same space without some operations; raises ParamsError, e.g. for an unknown one."""
        if unknown := [name for name in excluded if name not in OPERATIONS]:
            raise ParamsError(
                f"search.exclude: {unknown[0]!r} is not an operation; known are "
                f"{', '.join(OPERATIONS)}"
            )
        edges = {}
        for kind, specs in self.edges.items():
            left = [tuple(c for c in edge.candidates if c not in excluded) for edge in specs]
            pairs = zip(specs, left, strict=True)
            edges[kind] = tuple(edge._replace(candidates=names) for edge, names in pairs)
        return replace(self, edges=edges)

    def check(self, genotype: Genotype) -> None:
        """Raise GenotypeError unless this space has the cells, edges and operations."""
        if set(genotype.cells) != set(self.edges):
            raise GenotypeError(
                f"genotype: space {self.name} has the cells {', '.join(self.edges)}, not "
                f"{', '.join(genotype.cells)}"
            )
        for kind, cell in genotype.cells.items():
            allowed = {name for edge in self.edges[kind] for name in edge.candidates}
            pairs = {edge[:2] for edge in self.edges[kind]}
            for op, source, target in cell.edges:
                if op not in allowed:
                    raise GenotypeError(
                        f"genotype: cell {kind}: unknown operation {op!r}; space {self.name} has "
                        f"{', '.join(sorted(allowed))}"
                    )
                if (source, target) not in pairs:
                    raise GenotypeError(
                        f"genotype: cell {kind}: space {self.name} has no edge {source}->{target}"
                    )


def complete_edges(inputs: int, nodes: int, candidates: Sequence[str]) -> tuple[EdgeSpec, ...]:
    """Edges from every earlier node to each intermediate node, all with the same candidates."""
    return tuple(
        EdgeSpec(source, target, tuple(candidates))
        for target in range(inputs, inputs + nodes)
        for source in range(target)
    )
