"""One type of cell of a genotype: its edges, the nodes it joins, and what makes it valid."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from midas.io.errors import GenotypeError

MAX_NODES = 64  # limits what a hostile file can make a builder allocate
NAME = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


class Edge(NamedTuple):
    """One chosen operation: it reads the output of node `source` and adds to node `target`."""

    op: str
    source: int
    target: int


@dataclass(frozen=True)
class CellGenotype:
    """The chosen edges of a cell, and the nodes whose outputs it joins, in this order."""

    edges: tuple[Edge, ...]
    concat: tuple[int, ...]

    def canonical(self) -> "CellGenotype":
        """The same cell with its edges ordered by target, then source."""
        edges = sorted(self.edges, key=lambda edge: (edge.target, edge.source, edge.op))
        return CellGenotype(tuple(edges), tuple(self.concat))

    def check(self, kind: str) -> None:
        """Raise GenotypeError unless edges go forward, differ, and reach every joined node."""
        problem = None
        pairs = {(edge.source, edge.target) for edge in self.edges}
        targets = {edge.target for edge in self.edges}
        unique = set(self.concat)
        if len(pairs) != len(self.edges):
            problem = "two edges join the same two nodes"
        elif not unique or len(unique) != len(self.concat) or not unique <= targets:
            problem = f"concat {list(self.concat)} must name nodes that edges go into, each once"
        for op, source, target in self.edges:
            if not NAME.fullmatch(op):
                problem = f"{op!r} is not an operation's name"
            elif not 0 <= source < target < MAX_NODES:
                problem = (
                    f"edge {op} goes from node {source} to node {target}; edges go from an earlier "
                    f"to a later node below {MAX_NODES}"
                )
        if problem is not None:
            raise GenotypeError(f"genotype: cell {kind}: {problem}")
