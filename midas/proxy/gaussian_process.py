"""A Gaussian process over cells: what proxy trainings of some cells say about all others.

Cells that share operations have similar losses, so the noise of single trainings averages out. The
covariance of two cells is s^2 r^h, where h is the number of edges on which their operations differ.
Of 20 pairs of r and noise, the most likely one under the losses seen is taken.

Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, sections 2.2
(prediction), 2.7 (an unknown constant mean) and 5.4 (marginal likelihood).
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

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
