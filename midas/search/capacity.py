"""How many weights the networks of a space's cells have, without building one for each.

A short training measures how fast a network learns; a network with more weights ends lower once it is trained to the end.
Scaling laws say so of losses: one term falls with the length of the training, another with the number of weights (Hoffmann
et al., arXiv 2203.15556, section 3.3), and a short training hardly sees the second.
"""

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import nn

from midas.genotype import Genotype
from midas.search.supernet import SearchCell, Supernet
from midas.spaces.space import Space

Operation = tuple[str, int, int, str]  # type of cell, source, target, name


def operation_weights(space: Space, channels: int, cells: int, classes: int) -> tuple[int, dict[Operation, int]]:
    """The weights of a network beside its edges, and those of each operation: of all cells of a type together.

    Args:
        space: whose candidates are counted.
        channels: of the network, as `search.channels`.
        cells: as `search.cells`.
        classes: of the classifier.
    """
    with torch.device("meta"):  # counted, never computed
        network = Supernet(space, channels, cells, classes)
    found: dict[Operation, int] = {}
    for cell in (cell for cell in network.cells if isinstance(cell, SearchCell)):
        specs = [spec for site in cell.sites for spec in site.edges]
        for spec, operations in zip(specs, cell.edges, strict=True):
            for op, module in zip(spec.candidates, cast(nn.ModuleList, operations), strict=True):
                key = (cell.sites[0].kind, spec.source, spec.target, op)
                found[key] = found.get(key, 0) + _count(module)
    return _count(network) - sum(found.values()), found


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def shortfall(space: Space, channels: int, depths: Sequence[int], classes: int) -> Callable[[Genotype], float]:
    """What tells of a cell by how much its networks are smaller than the largest: ln(largest / weights), at least 0.

    The largest has the candidate of most weights on every edge. Of networks of several depths the weights are added.

    Args:
        space: whose cells are asked about.
        channels: of the networks.
        depths: of the networks, each as `search.cells`.
        classes: of the classifier.
    """
    counted = [operation_weights(space, channels, cells, classes) for cells in depths]

    def weights(edges: Sequence[Operation]) -> int:
        return sum(fixed + sum(found.get(edge, 0) for edge in edges) for fixed, found in counted)

    def of(genotype: Genotype) -> float:
        edges = [(kind, e.source, e.target, e.op) for kind, cell in genotype.cells.items() for e in cell.edges]
        return math.log(largest / weights(edges))

    widest = [
        max(
            ((kind, spec.source, spec.target, op) for op in spec.candidates),
            key=lambda edge: sum(found.get(edge, 0) for _, found in counted),
        )
        for kind, specs in space.edges.items()
        for spec in specs
    ]
    largest = weights(widest)
    return of
