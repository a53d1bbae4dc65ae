"""Which two incoming edges a node keeps: exact marginals over pairs, without parameters of their own.

Source: our reading, docs/method.md, "pair marginals"; the idea of scoring candidate pairs is MIDAS, arXiv 2602.17700.
"""

from functools import cache

import torch
from torch import Tensor


@cache
def pairs(n: int) -> tuple[tuple[int, int], ...]:
    """The pairs of n edges in lexicographic order: n(n-1)/2 of them. A single edge counts as its own pair."""
    if n == 1:
        return ((0, 0),)
    return tuple((i, k) for i in range(n) for k in range(i + 1, n))


@cache
def incidence(n: int, dtype: torch.dtype = torch.float64, device: torch.device | None = None) -> Tensor:
    """[pairs, n]: 1 where the pair holds the edge. Kept, so that it is brought to a device once."""
    matrix = torch.zeros(len(pairs(n)), n, dtype=dtype)
    for row, (i, k) in enumerate(pairs(n)):
        matrix[row, i] = matrix[row, k] = 1
    return matrix.to(device)


def pair_marginals(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The Gibbs distribution over pairs of edges and each edge's probability of being kept.

    pi{i,k} is proportional to exp(scores_i + scores_k). Computed as a softmax over the at most n(n-1)/2 pair sums, which
    stays finite for any finite scores; the closed form from softmax(scores) is NaN in float32 from a gap of 20.

    Args:
        scores: edge scores [..., n], the log-sum-exp of the edge's operation logits.

    Returns:
        pi [..., pairs], summing to 1, in the order of `pairs`; m [..., n], the sum of pi over the pairs that hold an edge.
        m sums to 2, and is 1 for each of one or two edges.
    """
    n = scores.shape[-1]
    if n <= 2:
        # no choice: exact ones, and no gradient where the formula's is zero
        return torch.ones_like(scores[..., :1]), torch.ones_like(scores)
    matrix = incidence(n, scores.dtype, scores.device)
    columns = scores.movedim(-1, 0)  # pairs and edges first: a softmax over a short last axis is slow
    pi = torch.softmax(matrix @ columns.reshape(n, -1), dim=0)  # [n, ...] -> [pairs, M]
    m = matrix.T @ pi  # [n, M]
    return pi.view(-1, *columns.shape[1:]).movedim(0, -1), m.view_as(columns).movedim(0, -1)
