"""What short trainings of some cells say about all others: a Gaussian process over cells.

Cells that share operations have losses alike, so each training says something about every cell, and the noise of single
trainings averages out. The covariance of two cells is s^2 r^h, where h is the number of edges on which their operations
differ: the product over edges of 1 where they are the same and r where they are not. Of 20 pairs of r and noise that pair
is taken under which the losses seen are most likely. Standard: Rasmussen and Williams, Gaussian Processes for Machine
Learning, 2006, sections 2.2 (prediction), 2.7 (an unknown constant mean) and 5.4 (marginal likelihood).
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

LIKENESS = (0.5, 0.6, 0.7, 0.8, 0.9)  # r
NOISE = (0.03, 0.1, 0.3, 1.0)  # variance of a training's own error, over s^2


class Fit(NamedTuple):
    """A Gaussian process given what was seen.

    Attributes:
        likelihood: logarithm of the marginal likelihood with the mean integrated out and the most likely s^2, up to a constant.
        likeness: r.
        noise: the error's variance over s^2.
        mean: of all cells' losses.
        weights: of the cells seen: the expected loss is `mean` and their covariances times these. (cells seen,)
    """

    likelihood: float
    likeness: float
    noise: float
    mean: float
    weights: Tensor


def expected(seen: Tensor, losses: Sequence[float], asked: Tensor) -> Tensor:
    """The expected loss of cells, given noisy losses of some.

    Args:
        seen: a cell a row, an operation's number on each edge. (cells seen, edges)
        losses: theirs, in nats.
        asked: other cells, or the same. (cells asked, edges)

    Returns:
        In nats, float64. (cells asked,)
    """
    values = torch.tensor(losses, dtype=torch.float64)
    if bool((values == values[0]).all()):
        return values[:1].expand(len(asked))
    fit = max((_fit(seen, values, *choice) for choice in product(LIKENESS, NOISE)), key=lambda fit: fit.likelihood)
    return fit.mean + _covariance(asked, seen, fit.likeness) @ fit.weights


def _covariance(one: Tensor, other: Tensor, likeness: float) -> Tensor:
    """Over s^2. (cells, edges), (others, edges) -> (cells, others)"""
    return likeness ** (one[:, None] != other).sum(2).double()


def _fit(seen: Tensor, losses: Tensor, likeness: float, noise: float) -> Fit:
    """Mean and s^2 have closed forms."""
    count, free = len(losses), len(losses) - 1
    factor = torch.linalg.cholesky(_covariance(seen, seen, likeness) + noise * torch.eye(count, dtype=torch.float64))
    solved = torch.cholesky_solve(torch.stack([losses, torch.ones_like(losses)], 1), factor)  # (cells seen, 2)
    precision = solved[:, 1].sum()  # of the mean
    mean = solved[:, 0].sum() / precision
    weights = solved[:, 0] - mean * solved[:, 1]
    variance = ((losses - mean) @ weights) / free  # s^2
    likelihood = -free / 2 * variance.log() - factor.diagonal().log().sum() - precision.log() / 2
    return Fit(float(likelihood), likeness, noise, float(mean), weights)
