"""From input-specific weights to one fixed cell: average over patches and samples, then take the best pair and operations.

Source: MIDAS, arXiv 2602.17700, equation 14 (average over patches and training samples, best pair a node); the order of
averaging (within a cell first, then over the cells of a type, so that early cells with many patches do not outweigh the
others) is our reading, METHOD.md section 2.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from midas.genotype import CellGenotype, Edge, Genotype
from midas.search.arms import Arm, Choice
from midas.search.supernet import SearchCell, Supernet
from midas.search.topology import pairs
from midas.spaces.space import EdgeSpec, Space

ZERO = "none"  # an edge on which it is chosen does not exist, so it is never decoded where edges are chosen


@dataclass(frozen=True)
class NodeDistribution:
    """The averaged weights of one node: a [n, m] over operations on each edge, pi [pairs] over pairs of edges, or None.

    In float64, so that the mean does not depend on how many samples were added before.
    """

    a: Tensor
    pi: Tensor | None

    def to_value(self, edges: Iterable[EdgeSpec]) -> dict[str, Any]:
        """Its JSON form, with names; probabilities are rounded to 6 digits."""
        specs = list(edges)
        operations = [
            {
                "source": edge.source,
                "operations": {op: round(float(p), 6) for op, p in zip(edge.candidates, row, strict=False)},
            }
            for edge, row in zip(specs, self.a, strict=True)
        ]
        kept: list[dict[str, Any]] = []
        if self.pi is not None:
            sources = [edge.source for edge in specs]
            kept = [
                {"sources": sorted({sources[i], sources[k]}), "probability": round(float(p), 6)}
                for (i, k), p in zip(pairs(len(specs)), self.pi, strict=True)
            ]
        return {"target": specs[0].target, "edges": operations, "pairs": kept}


Distributions = dict[str, list[NodeDistribution]]
"""For each type of cell, the averaged weights of its nodes."""


@torch.no_grad()
def distributions(supernet: Supernet, arm: Arm, batches: Iterable[Tensor]) -> Distributions:
    """Average the weights that an arm gives to the samples.

    Args:
        supernet: in any mode; its batch norms use the statistics of each batch.
        arm: the trained arm.
        batches: normalised images [B, 3, H, W]; every sample counts the same.

    Returns:
        the mean over patches and samples within a cell, then over the cells of a type.
    """
    kinds = [cell.sites[0].kind for cell in supernet.cells if isinstance(cell, SearchCell)]
    sums: list[list[NodeDistribution]] | None = None
    total = 0
    for images in batches:
        batch = [[_sum(choice, len(images)) for choice in nodes] for nodes in supernet(images, arm)[1]]
        sums = (
            batch
            if sums is None
            else [[_add(x, y) for x, y in zip(u, v, strict=True)] for u, v in zip(sums, batch, strict=True)]
        )
        total += len(images)
    if sums is None:
        raise ValueError("distributions needs at least one batch")
    by_kind: dict[str, list[list[NodeDistribution]]] = defaultdict(list)
    for kind, nodes in zip(kinds, sums, strict=True):
        by_kind[kind].append([_scale(node, 1 / total) for node in nodes])
    return {kind: [mean(nodes) for nodes in zip(*cells, strict=True)] for kind, cells in by_kind.items()}


def mean(nodes: Iterable[NodeDistribution]) -> NodeDistribution:
    """The plain mean of distributions of the same node (over cells of a type, or over seeds)."""
    several = list(nodes)
    total = several[0]
    for node in several[1:]:
        total = _add(total, node)
    return _scale(total, 1 / len(several))


def decode(found: Distributions, space: Space) -> Genotype:
    """The fixed architecture of averaged weights.

    With pair probabilities the most probable pair of edges is kept, else (DARTS) the `keep` edges with the largest weight
    of an operation other than `none`; on each kept edge the best operation other than `none`. Where the space keeps all
    edges, `none` may be chosen. Ties go to the earlier candidate.

    Args:
        found: averaged weights of every type of cell.
        space: the space that was searched.
    """
    cells = {}
    for kind, nodes in found.items():
        edges = []
        for specs, node in zip(space.nodes(kind), nodes, strict=True):
            for k in _kept(specs, node, space.keep):
                op = _best_operation(specs[k], node.a[k], allow_zero=space.keep is None)
                edges.append(Edge(op, specs[k].source, specs[k].target))
        cells[kind] = CellGenotype(tuple(edges), space.concat)
    return Genotype(space.name, cells)


def _kept(specs: list[EdgeSpec], node: NodeDistribution, keep: int | None) -> list[int]:
    """Which of a node's edges a decoded cell keeps."""
    if keep is None or len(specs) <= keep:
        return list(range(len(specs)))
    if node.pi is not None:
        return list(pairs(len(specs))[int(node.pi.argmax())])
    strength = [max(_weights(edge, row, allow_zero=False).values()) for edge, row in zip(specs, node.a, strict=True)]
    return sorted(sorted(range(len(specs)), key=lambda k: -strength[k])[:keep])


def _best_operation(edge: EdgeSpec, row: Tensor, allow_zero: bool) -> str:
    weights = _weights(edge, row, allow_zero)
    return max(weights, key=lambda op: weights[op])


def _weights(edge: EdgeSpec, row: Tensor, allow_zero: bool) -> dict[str, float]:
    """The candidates' weights; without `none` unless it is allowed or stands alone."""
    weights = {op: float(w) for op, w in zip(edge.candidates, row, strict=False)}
    others = {op: w for op, w in weights.items() if op != ZERO}
    return weights if allow_zero or not others else others


def _sum(choice: Choice, samples: int) -> NodeDistribution:
    """The mean over patches, summed over samples; weights that do not depend on the sample count once for each."""

    def over(x: Tensor) -> Tensor:
        per_sample = x.double().flatten(1, 2).mean(1)  # [B, Ph, Pw, ...] -> [B, ...]
        return per_sample.sum(0) * (samples / len(per_sample))

    return NodeDistribution(over(choice.a), None if choice.pi is None else over(choice.pi))


def _add(x: NodeDistribution, y: NodeDistribution) -> NodeDistribution:
    return NodeDistribution(x.a + y.a, None if x.pi is None or y.pi is None else x.pi + y.pi)


def _scale(x: NodeDistribution, factor: float) -> NodeDistribution:
    return NodeDistribution(x.a * factor, None if x.pi is None else x.pi * factor)
