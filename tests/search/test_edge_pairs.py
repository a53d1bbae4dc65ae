"""Pair marginals equal the enumeration of all legal nodes, and are finite for any finite scores."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from midas.search.edge_pairs import pair_marginals, pairs


def enumerate_nodes(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Marginals [n, m] of an edge and its operation, and [pairs], from a list of all legal nodes.

    A node of two edges with the logits l and l' has the Gibbs weight exp(l + l').
    """
    n, m = logits.shape
    values = logits.double()
    joint = torch.zeros(n, m, dtype=torch.float64)
    by_pair = torch.zeros(len(pairs(n)), dtype=torch.float64)
    total = 0.0
    top = float(values.max())
    for row, (i, k) in enumerate(pairs(n)):
        for j, q in itertools.product(range(m), repeat=2):
            weight = math.exp(float(values[i, j]) - top + float(values[k, q]) - top)
            joint[i, j] += weight
            joint[k, q] += weight
            by_pair[row] += weight
            total += weight
    return joint / total, by_pair / total


@pytest.mark.parametrize("n", [2, 3, 4, 5])
@pytest.mark.parametrize("m", range(1, 9))
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_marginals_equal_the_enumeration_of_all_legal_nodes(
    n: int, m: int, dtype: torch.dtype, tolerance: float
) -> None:
    logits = 3 * torch.randn(
        n, m, generator=torch.Generator().manual_seed(100 * n + m), dtype=torch.float64
    )
    joint, by_pair = enumerate_nodes(logits)
    rounded = logits.to(dtype)
    pi, kept = pair_marginals(torch.logsumexp(rounded, dim=-1))
    marginal = kept[:, None] * torch.softmax(rounded, dim=-1)
    assert (marginal.double() - joint).abs().max() <= tolerance
    assert (pi.double() - by_pair).abs().max() <= tolerance


@given(
    st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=5),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_extreme_scores_give_finite_probabilities_and_gradients(
    scores: list[float], dtype: torch.dtype
) -> None:
    leaf = torch.tensor(scores, dtype=dtype, requires_grad=True)
    pi, kept = pair_marginals(leaf)
    assert float(pi.detach().sum()) == pytest.approx(1, abs=1e-5)
    assert float(kept.detach().sum()) == pytest.approx(min(2, len(scores)), abs=1e-5)
    ((pi**2).sum() + (kept * torch.arange(1, len(scores) + 1)).sum() + 0 * leaf.sum()).backward()
    assert leaf.grad is not None
    assert torch.isfinite(leaf.grad).all()


@given(st.lists(st.floats(-50, 50), min_size=3, max_size=5), st.floats(-100, 100))
def test_only_differences_of_scores_count(scores: list[float], shift: float) -> None:
    plain, _ = pair_marginals(torch.tensor(scores, dtype=torch.float64))
    shifted, _ = pair_marginals(torch.tensor(scores, dtype=torch.float64) + shift)
    assert torch.allclose(plain, shifted, atol=1e-9)


def test_one_or_two_edges_are_always_kept() -> None:
    for n in (1, 2):
        pi, kept = pair_marginals(torch.tensor([5.0, -7.0][:n]))
        assert pi.tolist() == [1.0]
        assert kept.tolist() == [1.0] * n


def test_gradients_agree_with_finite_differences() -> None:
    scores = torch.randn(
        3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True
    )
    assert torch.autograd.gradcheck(pair_marginals, (scores,))


def test_pairs_are_one_three_six_ten() -> None:
    assert [len(pairs(n)) for n in (2, 3, 4, 5)] == [1, 3, 6, 10]
