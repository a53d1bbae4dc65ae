"""From input-specific weights to one fixed cell: sum up over patches and samples, then take the best pair and operations.

Source: MIDAS, arXiv 2602.17700, equation 14 (average over patches and training samples, best pair a node); the order of
averaging (within a cell first, then over the cells of a type, so that early cells with many patches do not outweigh the
others) is our reading, docs/method.md. The other rules are in `rules.py`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from midas.genotype import CellGenotype, Edge, Genotype
from midas.runs.errors import ParamsError
from midas.search.arms.base import Arm, Choice
from midas.search.rules import SUMMARIES, Rule, joint_table
from midas.search.supernet import SearchCell, Supernet
from midas.search.topology import pairs
from midas.spaces.space import EdgeSpec, Space

ZERO = "none"  # an edge on which it is chosen does not exist, so it is never decoded where edges are chosen


@dataclass(frozen=True)
class NodeWeights:
    """The weights of one node, summed up: a [n, m] over operations on each edge, pi [pairs] over pairs of edges, or None.

    Also, with a leading N, those of each sample, the mean over its patches.
    """

    a: Tensor
    pi: Tensor | None

    def to_value(self, edges: Iterable[EdgeSpec]) -> dict[str, Any]:
        """Its JSON form, with names; numbers are rounded to 6 digits."""
        specs = list(edges)
        operations = [
            {"source": edge.source, "operations": {op: round(weight, 6) for op, weight in named.items()}}
            for edge, named in zip(specs, by_name(specs, self.a), strict=True)
        ]
        kept: list[dict[str, Any]] = []
        if self.pi is not None:
            sources = [edge.source for edge in specs]
            kept = [
                {"sources": sorted({sources[i], sources[k]}), "probability": round(float(p), 6)}
                for (i, k), p in zip(pairs(len(specs)), self.pi, strict=True)
            ]
        return {"target": specs[0].target, "edges": operations, "pairs": kept}


def by_name(edges: Sequence[EdgeSpec], a: Tensor) -> list[dict[str, float]]:
    """The weights of each edge's candidates by their names.

    Args:
        edges: the n edges of a node.
        a: their weights [n, m], where m is the most candidates that one of them has; an edge of fewer leaves the last unread.

    Raises:
        ParamsError: the weights are of other candidates.
    """
    widest = max(len(edge.candidates) for edge in edges)
    if a.shape != (len(edges), widest):
        raise ParamsError(
            f"the weights of node {edges[0].target} are {list(a.shape)} where the space has {[len(edges), widest]}: give the space "
            "that was searched, without what search.exclude left out (space.without(config.exclude))"
        )
    return [dict(zip(edge.candidates, row, strict=False)) for edge, row in zip(edges, a.tolist(), strict=True)]


Distributions = dict[str, list[NodeWeights]]
"""For each type of cell, the summed up weights of its nodes."""
Samples = dict[str, list[list[NodeWeights]]]
"""For each type of cell, for each cell of it, for each node, the weights of every sample (of one, where all are alike)."""


@torch.no_grad()
def sample_weights(supernet: Supernet, arm: Arm, batches: Iterable[Tensor]) -> Samples:
    """The weights that an arm gives to each sample, the mean over its patches.

    Args:
        supernet: in any mode; its batch norms use the statistics of each batch.
        arm: the trained arm; it is asked as in evaluation, so it draws nothing.
        batches: normalised images [B, 3, H, W].
    """
    was_training, _ = arm.training, arm.eval()
    device = next(supernet.parameters()).device
    answers = (supernet(images.to(device), arm)[1] for images in batches)
    seen = [[[_of_samples(choice) for choice in nodes] for nodes in cells] for cells in answers]
    arm.train(was_training)
    if not seen:
        raise ValueError("sample_weights needs at least one batch")
    kinds = [cell.sites[0].kind for cell in supernet.cells if isinstance(cell, SearchCell)]
    result: Samples = defaultdict(list)
    for kind, cells in zip(kinds, zip(*seen, strict=True), strict=True):
        result[kind].append([_joined(batches_of_node) for batches_of_node in zip(*cells, strict=True)])
    return dict(result)


def distributions(samples: Samples, rule: Rule = "mean") -> Distributions:
    """Sum up over samples by a rule within each cell, then take the mean over the cells of a type.

    `joint` chooses from all samples at once; where one weight for each operation is asked for, it is the mean.
    """
    return _summed_up(samples, SUMMARIES["mean" if rule == "joint" else rule])


def one_voice(samples: Samples) -> bool:
    """Whether the weights are the same for all samples, as those of static arms are."""
    return all(len(node.a) == 1 for cells in samples.values() for nodes in cells for node in nodes)


def deviations(samples: Samples) -> Distributions:
    """The standard deviation over samples within each cell, the mean over the cells of a type."""
    return _summed_up(samples, lambda values: values.double().std(0, correction=0))


def _summed_up(samples: Samples, over: Callable[[Tensor], Tensor]) -> Distributions:
    """Samples by `over` [N, ..., K] to [..., K], then the mean over the cells of a type."""
    return {
        kind: [
            mean([NodeWeights(over(node.a), None if node.pi is None else over(node.pi)) for node in same])
            for same in zip(*cells, strict=True)
        ]
        for kind, cells in samples.items()
    }


def mean(nodes: Sequence[NodeWeights]) -> NodeWeights:
    """The plain mean of weights of the same node (over cells of a type, or over seeds)."""
    pi = [node.pi for node in nodes if node.pi is not None]
    return NodeWeights(torch.stack([node.a for node in nodes]).mean(0), torch.stack(pi).mean(0) if pi else None)


def decode(samples: Samples, space: Space, rule: Rule = "mean") -> Genotype:
    """The fixed architecture of a search.

    With pair probabilities the best pair of edges is kept, else (DARTS) the `keep` edges with the largest weight of an
    operation other than `none`; on each kept edge the best operation other than `none`. Where the space keeps all edges,
    `none` may be chosen. Ties go to the earlier candidate. The rule `joint` takes the edges and operations of a node that
    are most probable together. Where the weights are the same for all samples, `vote` is `mean`: a single vote does not say
    how strong an edge is.

    Args:
        samples: the weights of every sample (`sample_weights`).
        space: what was searched: without the operations that `search.exclude` left out (`Space.without`).
        rule: how samples are summed up.

    Raises:
        ParamsError: the weights are of another space.
    """
    found = distributions(samples, "mean" if rule == "vote" and one_voice(samples) else rule)
    cells = {}
    for kind, nodes in found.items():
        edges = []
        for k, (specs, node) in enumerate(zip(space.nodes(kind), nodes, strict=True)):
            if rule == "joint":
                edges += _joint_best(specs, [cell[k] for cell in samples[kind]], node, space.keep)
                continue
            weights = _allowed(specs, node, allow_zero=space.keep is None)
            for i in _kept(specs, node, space.keep):
                edges.append(Edge(max(weights[i], key=weights[i].__getitem__), specs[i].source, specs[i].target))
        cells[kind] = CellGenotype(tuple(edges), space.concat)
    return Genotype(space.name, cells)


def _kept(specs: list[EdgeSpec], node: NodeWeights, keep: int | None) -> list[int]:
    """Which of a node's edges a decoded cell keeps."""
    if keep is None or len(specs) <= keep:
        return list(range(len(specs)))
    if node.pi is not None:
        return list(pairs(len(specs))[int(node.pi.argmax())])
    strength = [max(weights.values()) for weights in _allowed(specs, node, allow_zero=False)]
    return sorted(sorted(range(len(specs)), key=lambda k: -strength[k])[:keep])


def _joint_best(specs: list[EdgeSpec], cells: list[NodeWeights], node: NodeWeights, keep: int | None) -> list[Edge]:
    """The edges and operations with the largest mean joint probability over samples, then cells."""
    by_pair = keep is not None and node.pi is not None and len(specs) > keep
    ways = [list(pair) for pair in pairs(len(specs))] if by_pair else [_kept(specs, node, keep)]
    allowed = _allowed(specs, node, allow_zero=keep is None)
    best, result = -1.0, list[Edge]()
    for row, chosen in enumerate(ways):
        table = torch.stack(
            [
                joint_table(cell.a, chosen, cell.pi[:, row] if by_pair and cell.pi is not None else None)
                for cell in cells
            ]
        ).mean(0)
        for axis, i in enumerate(chosen):
            for j, op in enumerate(specs[i].candidates):
                if op not in allowed[i]:
                    table.select(axis, j).fill_(-1)
        if float(table.max()) > best:
            best = float(table.max())
            picks = torch.unravel_index(table.argmax(), table.shape)
            result = [
                Edge(specs[i].candidates[int(j)], specs[i].source, specs[i].target)
                for i, j in zip(chosen, picks, strict=True)
            ]
    return result


def _allowed(specs: Sequence[EdgeSpec], node: NodeWeights, allow_zero: bool) -> list[dict[str, float]]:
    """The weights of each edge's candidates; without `none` unless it is allowed or stands alone."""
    every = by_name(specs, node.a)
    others = [{op: w for op, w in weights.items() if op != ZERO} for weights in every]
    return every if allow_zero else [other or weights for other, weights in zip(others, every, strict=True)]


def _of_samples(choice: Choice) -> NodeWeights:
    """The mean over patches for each sample: [B, Ph, Pw, ...] to [B, ...]."""
    pi = None if choice.pi is None else choice.pi.flatten(1, 2).mean(1).cpu()
    return NodeWeights(choice.a.flatten(1, 2).mean(1).cpu(), pi)


def _joined(batches: Sequence[NodeWeights]) -> NodeWeights:
    """The samples of all batches; of one where every batch has the same single row."""
    if all(len(node.a) == 1 for node in batches):
        return batches[0]
    pi = [node.pi for node in batches if node.pi is not None]
    return NodeWeights(torch.cat([node.a for node in batches]), torch.cat(pi) if pi else None)
