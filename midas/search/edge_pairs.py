"""Which two incoming edges a node keeps: exact marginals over pairs of edges.

Source: the idea is MIDAS's, arXiv 2602.17700; the formula is ours (docs/method.md).
"""

from functools import cache
from itertools import combinations

import torch
from torch import Tensor


@cache
def pairs(n: int) -> tuple[tuple[int, int], ...]:
    """The n(n-1)/2 pairs of n edges in lexicographic order. A single edge is its own pair."""
    return tuple(combinations(range(n), 2)) or ((0, 0),)


@cache
def incidence(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[pairs, n]: 1 where the pair holds the edge. Cached, so that a GPU receives it once."""
    matrix = torch.zeros(len(pairs(n)), n, dtype=dtype)
    for row, (i, k) in enumerate(pairs(n)):
        matrix[row, i] = matrix[row, k] = 1
    return matrix.to(device)


def pair_marginals(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The Gibbs distribution over pairs of edges, and each edge's probability of being kept.

    pi{i,k} is proportional to exp(score_i + score_k), for scores [..., n]: the log-sum-exp of each
    edge's operation logits. The closed form from softmax(scores) is NaN from a gap of 20.

    Returns:
        pi [..., pairs] in the order of `pairs`, and m [..., n], the sum of pi over the pairs that
        hold an edge. m sums to 2, and is 1 for each of one or two edges.
    """
    n = scores.shape[-1]
    if n <= 2:
        # no choice: exact ones, and no gradient where the formula's is zero
        return torch.ones_like(scores[..., :1]), torch.ones_like(scores)
    matrix = incidence(n, scores.dtype, scores.device)
    columns = scores.movedim(-1, 0)  # [n, ...]: a softmax over a short last axis is slow
    pi = torch.softmax(matrix @ columns.reshape(n, -1), dim=0)  # [pairs, M]
    m = matrix.T @ pi  # [n, M]
    return pi.view(-1, *columns.shape[1:]).movedim(0, -1), m.view_as(columns).movedim(0, -1)
