"""How many weights the networks of a space's cells have, without building one for each.

A network with more weights ends lower once it is trained to the end, which a proxy training hardly
sees. In scaling laws, one term of the loss falls with the length of the training and another with
the number of weights (Hoffmann et al., arXiv 2203.15556, section 3.3).
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import nn

from midas.genotype import Genotype
from midas.search.supernet import Supernet
from midas.spaces.space import Space

Operation = tuple[str, int, int, str]  # type of cell, source, target, name


def count_operation_weights(
    space: Space, channels: int, cells: int, num_classes: int
) -> tuple[int, Counter[Operation]]:
    """The weights of a network without its edges, and those of each operation in all its cells."""
    with torch.device("meta"):  # counted, never computed
        network = Supernet(space, channels, cells, num_classes)
    counts: Counter[Operation] = Counter()
    for cell in network.search_cells:
        specs = [spec for node_spec in cell.node_specs for spec in node_spec.edges]
        for spec, operations in zip(specs, cell.edges, strict=True):
            for op, module in zip(spec.candidates, cast(nn.ModuleList, operations), strict=True):
                key = (cell.node_specs[0].kind, spec.source, spec.target, op)
                counts[key] += _count(module)
    return _count(network) - counts.total(), counts


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def log_size_gap(
    space: Space, channels: int, depths: Sequence[int], num_classes: int
) -> Callable[[Genotype], float]:
    """A function that gives ln(largest / weights) of a cell's networks, at least 0.

    The largest network has the candidate with the most weights on every edge. Weights of several
    depths (each as `search.cells`) are added.
    """
    fixed = 0
    op_weights: Counter[Operation] = Counter()
    for cells in depths:
        rest, counts = count_operation_weights(space, channels, cells, num_classes)
        fixed += rest
        op_weights += counts
    largest = fixed + sum(
        max(op_weights[kind, spec.source, spec.target, op] for op in spec.candidates)
        for kind, specs in space.edges.items()
        for spec in specs
    )

    def gap(genotype: Genotype) -> float:
        weights = sum(
            op_weights[kind, edge.source, edge.target, edge.op]
            for kind, cell in genotype.cells.items()
            for edge in cell.edges
        )
        return math.log(largest / (fixed + weights))

    return gap
