"""What is expected of a cell that was not trained: its loss in proxy trainings, and its size.

A Gaussian process says what proxy trainings of some cells say about all others. Cells that share
operations have similar losses, so the noise of single trainings averages out. The covariance of two
cells is s^2 r^h, where h is the number of edges on which their operations differ. Of 20 pairs of r
and noise, the most likely one under the losses seen is taken.

The size prior: a network with more weights ends lower once it is trained to the end, which a proxy
training hardly sees. In scaling laws, one term of the loss falls with the length of the training
and another with the number of weights.

Sources: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, sections 2.2
(prediction), 2.7 (an unknown constant mean) and 5.4 (marginal likelihood); Hoffmann et al., arXiv
2203.15556, section 3.3 (scaling laws).
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from midas.genotype import Genotype
from midas.search.supernet import Supernet
from midas.spaces.space import Space

CORRELATIONS = (0.5, 0.6, 0.7, 0.8, 0.9)  # r
NOISE = (0.03, 0.1, 0.3, 1.0)  # variance of a training's own error, over s^2


class Fit(NamedTuple):
    """A Gaussian process given some losses."""

    likelihood: float  # log marginal likelihood up to a constant, mean integrated out, best s^2
    correlation: float  # r
    mean: float  # of all cells' losses
    weights: Tensor  # [seen]; `mean` + covariances with the cells seen @ `weights` is the loss


def predict_mean(seen: Tensor, losses: Sequence[float], queried: Tensor) -> Tensor:
    """The posterior mean losses of `queried` cells, float64 [queried], given noisy losses of some.

    Cells are numbers of their edges' operations: `seen` [seen, edges], `queried` [queried, edges].
    """
    values = torch.tensor(losses, dtype=torch.float64)
    if bool((values == values[0]).all()):
        return values[:1].expand(len(queried))
    fits = [_fit(seen, values, *pair) for pair in product(CORRELATIONS, NOISE)]
    fit = max(fits, key=lambda fit: fit.likelihood)
    return fit.mean + _covariance(queried, seen, fit.correlation) @ fit.weights


def _covariance(cells: Tensor, others: Tensor, correlation: float) -> Tensor:
    """Over s^2: [cells, edges], [others, edges] -> [cells, others]."""
    return correlation ** (cells[:, None] != others).sum(2).double()


def _fit(seen: Tensor, losses: Tensor, correlation: float, noise: float) -> Fit:
    """Mean and s^2 have closed forms."""
    count = len(losses)
    identity = torch.eye(count, dtype=torch.float64)
    factor = torch.linalg.cholesky(_covariance(seen, seen, correlation) + noise * identity)
    columns = torch.stack([losses, torch.ones_like(losses)], 1)  # [seen, 2]
    solved = torch.cholesky_solve(columns, factor)
    precision = solved[:, 1].sum()  # of the mean
    mean = solved[:, 0].sum() / precision
    weights = solved[:, 0] - mean * solved[:, 1]
    variance = ((losses - mean) @ weights) / (count - 1)  # s^2
    determinant = factor.diagonal().log().sum()
    likelihood = -(count - 1) / 2 * variance.log() - determinant - precision.log() / 2
    return Fit(float(likelihood), correlation, float(mean), weights)


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
