"""From input-specific weights to one fixed cell.

The weights are averaged over patches, aggregated over samples, and averaged over the cells of a
type. The best pair of edges of each node is kept, with the best operation on each edge.

Source: MIDAS, arXiv 2602.17700, equation 14. The order of averaging, within a cell first so that
early cells with many patches do not outweigh the others, is our reading, docs/method.md.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from midas.decode.config import Aggregation
from midas.genotype import CellGenotype, Edge, Genotype
from midas.io.errors import ParamsError
from midas.search.edge_pairs import pairs
from midas.search.methods.base import ArchWeights, Method
from midas.search.supernet import Supernet
from midas.spaces.space import EdgeSpec, Space


def mean(values: Tensor) -> Tensor:
    """The mean over samples."""
    return values.double().mean(0)


def vote(values: Tensor) -> Tensor:
    """The share of samples whose largest entry each of K is."""
    return F.one_hot(values.argmax(-1), values.shape[-1]).double().mean(0)


def share(values: Tensor) -> Tensor:
    """The mean over samples, divided by its sum over K."""
    means = mean(values)
    return means / means.sum(-1, keepdim=True).clamp_min(1e-30)


AGGREGATIONS: dict[Aggregation, Callable[[Tensor], Tensor]] = {
    "mean": mean,
    "vote": vote,
    "sensitivity": share,
}


ZERO = "none"  # an edge that has it does not exist, so it is never decoded where edges are chosen


@dataclass(frozen=True)
class NodeWeights:
    """The weights of one node; with a leading N, those of each sample, averaged over its patches.

    Attributes:
        op_weights: [n, m] over the operations of each edge.
        pair_probs: [pairs] over pairs of edges, or None.
    """

    op_weights: Tensor
    pair_probs: Tensor | None

    def to_value(self, edges: Sequence[EdgeSpec]) -> dict[str, Any]:
        """The JSON form, with names; numbers are rounded to 6 digits."""
        operations = [
            {"source": edge.source, "operations": {op: round(w, 6) for op, w in weights.items()}}
            for edge, weights in zip(edges, by_name(edges, self.op_weights), strict=True)
        ]
        pair_probs = [] if self.pair_probs is None else self.pair_probs.tolist()
        kept = [
            {"sources": sorted({edges[i].source, edges[k].source}), "probability": round(p, 6)}
            for (i, k), p in zip(pairs(len(edges)), pair_probs, strict=False)
        ]
        return {"target": edges[0].target, "edges": operations, "pairs": kept}


Distributions = dict[str, list[NodeWeights]]  # of each type of cell: its nodes, aggregated
Samples = dict[str, list[list[NodeWeights]]]  # of each type: its cells, their nodes, all samples


def by_name(edges: Sequence[EdgeSpec], op_weights: Tensor) -> list[dict[str, float]]:
    """The weights [n, m] of each edge's candidates by name; ParamsError for other candidates'."""
    widest = max(len(edge.candidates) for edge in edges)
    if op_weights.shape != (len(edges), widest):
        raise ParamsError(
            f"the weights of node {edges[0].target} are {list(op_weights.shape)} where the space "
            f"has {[len(edges), widest]}: use the space that was searched, without what "
            "search.exclude left out (space.without(config.exclude))"
        )
    rows = zip(edges, op_weights.tolist(), strict=True)
    return [dict(zip(edge.candidates, row, strict=False)) for edge, row in rows]


@torch.no_grad()
def sample_weights(supernet: Supernet, method: Method, batches: Iterable[Tensor]) -> Samples:
    """The weights that a trained method gives to each sample, averaged over its patches.

    Batches are normalised images [B, 3, H, W]; batch norm uses the statistics of each of them.
    """
    was_training = method.training
    method.eval()
    device = next(supernet.parameters()).device
    answers = (supernet(images.to(device), method)[1] for images in batches)
    seen = [[[patch_mean(node) for node in cell] for cell in cells] for cells in answers]
    method.train(was_training)
    if not seen:
        raise ValueError("sample_weights needs at least one batch")
    return join_batches(supernet, seen)


def patch_mean(weights: ArchWeights) -> NodeWeights:
    """The mean over patches for each sample: [B, Ph, Pw, ...] to [B, ...]."""
    return _combine([weights], lambda values: values[0].flatten(1, 2).mean(1).cpu())


def join_batches(supernet: Supernet, batches: Sequence[list[list[NodeWeights]]]) -> Samples:
    """The samples of all batches; each batch has the nodes of each cell of the supernet."""
    samples: Samples = defaultdict(list)
    for cell, nodes in zip(supernet.search_cells, zip(*batches, strict=True), strict=True):
        joined = [_join(node) for node in zip(*nodes, strict=True)]
        samples[cell.node_specs[0].kind].append(joined)
    return dict(samples)


def _join(batches: Sequence[NodeWeights]) -> NodeWeights:
    is_same = all(len(node.op_weights) == 1 for node in batches)
    return batches[0] if is_same else _combine(batches, torch.cat)


def _combine(
    nodes: Sequence[NodeWeights | ArchWeights], function: Callable[[list[Tensor]], Tensor]
) -> NodeWeights:
    """One node from several, by a function of their operation weights and pair probabilities."""
    pair_probs = [node.pair_probs for node in nodes if node.pair_probs is not None]
    op_weights = function([node.op_weights for node in nodes])
    return NodeWeights(op_weights, function(pair_probs) if pair_probs else None)


def is_static(samples: Samples) -> bool:
    """Whether the weights are the same for all samples, as those of static methods are."""
    nodes = [node for cells in samples.values() for cell in cells for node in cell]
    return all(len(node.op_weights) == 1 for node in nodes)


def distributions(samples: Samples, aggregation: Aggregation = "mean") -> Distributions:
    """Aggregate over samples within each cell, then take the mean over the cells of a type."""
    aggregate = AGGREGATIONS[aggregation]

    def mean_of_cells(cells: list[Tensor]) -> Tensor:
        return torch.stack([aggregate(values) for values in cells]).mean(0)

    return {
        kind: [_combine(same, mean_of_cells) for same in zip(*cells, strict=True)]
        for kind, cells in samples.items()
    }


def decode(samples: Samples, space: Space, aggregation: Aggregation = "mean") -> Genotype:
    """The fixed architecture of a search.

    With pair probabilities the best pair of edges is kept; without them (DARTS) the `keep` edges
    with the largest weight of an operation other than `none`. Each kept edge gets its best
    operation other than `none`. Where the space keeps all edges, `none` may be chosen. Ties go to
    the earlier candidate. Where the weights are the same for all samples, `vote` is `mean`, since a
    single vote does not say how strong an edge is.

    `space` is what was searched, without `search.exclude` (`Space.without`); it is a ParamsError if
    the weights are of another one.
    """
    aggregated = distributions(samples, "mean" if is_static(samples) else aggregation)
    cells = {}
    for kind, nodes in aggregated.items():
        edges = []
        for specs, node in zip(space.nodes(kind), nodes, strict=True):
            weights = by_name(specs, node.op_weights)
            if space.keep is not None:
                weights = [_without_zero(named) for named in weights]
            for i in _kept_edges(node, weights, space.keep):
                best = max(weights[i], key=weights[i].__getitem__)
                edges.append(Edge(best, specs[i].source, specs[i].target))
        cells[kind] = CellGenotype(tuple(edges), space.concat)
    return Genotype(space.name, cells)


def _without_zero(weights: dict[str, float]) -> dict[str, float]:
    return {op: w for op, w in weights.items() if op != ZERO} or weights


def _kept_edges(
    node: NodeWeights, weights: Sequence[dict[str, float]], keep: int | None
) -> Sequence[int]:
    """Which of a node's edges a decoded cell keeps."""
    edges = range(len(weights))
    if keep is None or len(edges) <= keep:
        return edges
    if node.pair_probs is not None:
        return pairs(len(edges))[int(node.pair_probs.argmax())]
    strongest = sorted(edges, key=lambda k: max(weights[k].values()), reverse=True)
    return sorted(strongest[:keep])
