"""A search space as data: which edges a cell has, which operations are candidates on each, how many edges are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

from midas.genotype import Genotype
from midas.runs.errors import GenotypeError, ParamsError
from midas.spaces.operations import OPERATIONS


class EdgeSpec(NamedTuple):
    """An edge of the supernet's cell and the operations that may be chosen on it."""

    source: int
    target: int
    candidates: tuple[str, ...]


@dataclass(frozen=True)
class Space:
    """A cell-based search space.

    Attributes:
        name: how parameters and genotypes name it.
        skeleton: how cells are stacked: ``darts`` (two inputs, reduction cells) or ``nasbench201`` (one input, residual
            reductions between stages of equal cells).
        inputs: the number of input nodes of a cell; intermediate nodes are numbered on from there.
        edges: for each type of cell its edges, ordered by target, then source.
        concat: the nodes whose outputs a cell joins.
        keep: how many incoming edges of a node a decoded cell keeps; None keeps all of them.
    """

    name: str
    skeleton: str
    inputs: int
    edges: Mapping[str, tuple[EdgeSpec, ...]]
    concat: tuple[int, ...]
    keep: int | None

    def __post_init__(self) -> None:
        for edge in (edge for edges in self.edges.values() for edge in edges):
            unknown = [name for name in edge.candidates if name not in OPERATIONS]
            if unknown or not edge.candidates:
                raise ParamsError(
                    f"space {self.name}: edge {edge.source}->{edge.target} has the candidates {list(edge.candidates)}; "
                    f"it needs at least one of {', '.join(OPERATIONS)}"
                )

    def nodes(self, kind: str) -> list[list[EdgeSpec]]:
        """The incoming edges of each intermediate node of a cell type, node by node."""
        return [list(edges) for _, edges in groupby(self.edges[kind], key=lambda edge: edge.target)]

    def candidates(self, kind: str, source: int, target: int) -> tuple[str, ...]:
        """What may be chosen on one edge."""
        return next(edge.candidates for edge in self.edges[kind] if (edge.source, edge.target) == (source, target))

    def without(self, excluded: Sequence[str]) -> "Space":
        """The same space with some operations taken out of every edge's candidates.

        Raises:
            ParamsError: an edge would be left without candidates, or a name is no operation.
        """
        if unknown := [name for name in excluded if name not in OPERATIONS]:
            raise ParamsError(f"search.exclude: unknown operation {unknown[0]!r}; known are {', '.join(OPERATIONS)}")
        edges = {
            kind: tuple(
                edge._replace(candidates=tuple(c for c in edge.candidates if c not in excluded)) for edge in specs
            )
            for kind, specs in self.edges.items()
        }
        return replace(self, edges=edges)

    def check(self, genotype: Genotype) -> None:
        """Raise GenotypeError unless `genotype` is a cell of this space (any operation of the space on any of its edges)."""
        if set(genotype.cells) != set(self.edges):
            raise GenotypeError(
                f"genotype: space {self.name} has the cells {', '.join(self.edges)}, not {', '.join(genotype.cells)}"
            )
        for kind, cell in genotype.cells.items():
            allowed = {name for edge in self.edges[kind] for name in edge.candidates}
            pairs = {(edge.source, edge.target) for edge in self.edges[kind]}
            for edge in cell.edges:
                if edge.op not in allowed:
                    raise GenotypeError(
                        f"genotype: cell {kind}: unknown operation {edge.op!r}; space {self.name} has {', '.join(sorted(allowed))}"
                    )
                if (edge.source, edge.target) not in pairs:
                    raise GenotypeError(
                        f"genotype: cell {kind}: space {self.name} has no edge {edge.source}->{edge.target}"
                    )


def complete_edges(inputs: int, nodes: int, candidates: Sequence[str]) -> tuple[EdgeSpec, ...]:
    """Every edge from an earlier node to an intermediate one, all with the same candidates."""
    targets = range(inputs, inputs + nodes)
    return tuple(EdgeSpec(source, target, tuple(candidates)) for target in targets for source in range(target))
