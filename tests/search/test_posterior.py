"""What some cells' losses say about others: a Gaussian process, equal to scikit-learn's."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from torch.nn import functional as F

from midas.search import posterior as module
from midas.search.posterior import expected


def cells(count: int, seed: int, edges: int = 6) -> torch.Tensor:
    """Different cells of four operations."""
    draws = torch.randperm(4**edges, generator=torch.Generator().manual_seed(seed))[:count]
    return torch.stack([draws // 4**edge % 4 for edge in range(edges)], 1)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_a_gaussian_process_on_one_hot_operations(seed: int) -> None:
    """r^h is the squared exponential of one-hot vectors, whose squared distance is 2 h."""
    seen, asked = cells(20, seed), cells(50, seed + 100)
    losses = torch.randn(20, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    fits = [module._fit(seen, losses, likeness, noise) for likeness in module.LIKENESS for noise in module.NOISE]
    fit = max(fits, key=lambda fit: fit.likelihood)
    kernel = ConstantKernel(1.0, "fixed") * RBF(float((-1 / torch.tensor(fit.likeness).double().log()).sqrt()), "fixed")
    peer = GaussianProcessRegressor(kernel, alpha=fit.noise, optimizer=None)
    peer.fit(F.one_hot(seen, 4).flatten(1).numpy(), (losses - fit.mean).numpy())
    wanted = fit.mean + torch.from_numpy(peer.predict(F.one_hot(asked, 4).flatten(1).numpy()))
    assert torch.allclose(expected(seen, losses.tolist(), asked), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_likelihood_is_that_of_the_contrasts(seed: int) -> None:
    """With the mean integrated out: the density of 14 orthonormal contrasts of 15 losses, which hold nothing of the mean."""
    seen, losses = cells(15, seed), torch.randn(15, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    start = torch.cat([torch.ones(15, 1), torch.eye(15)[:, :14]], 1).double()
    contrasts = torch.linalg.qr(start).Q[:, 1:]

    def written_out(likeness: float, noise: float) -> float:
        alike = likeness ** (seen[:, None] != seen).sum(2).double() + noise * torch.eye(15, dtype=torch.float64)
        seen_in, alike_in = contrasts.T @ losses, contrasts.T @ alike @ contrasts
        scale = seen_in @ torch.linalg.solve(alike_in, seen_in) / 14
        normal = torch.distributions.MultivariateNormal(torch.zeros(14).double(), scale * alike_in)
        return float(normal.log_prob(seen_in))

    choices = ((0.5, 0.1), (0.9, 0.03), (0.7, 1.0))
    own = [module._fit(seen, losses, *choice).likelihood for choice in choices]
    plain = [written_out(*choice) for choice in choices]
    assert [a - own[0] for a in own] == pytest.approx([a - plain[0] for a in plain], abs=1e-8)


def test_the_mean_is_the_one_of_least_error() -> None:
    """By generalised least squares, written out; then the weights of the cells seen sum to 0."""
    seen, losses = cells(15, 5), torch.randn(15, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    fit = module._fit(seen, losses, 0.7, 0.1)
    inverse = torch.linalg.inv(
        0.7 ** (seen[:, None] != seen).sum(2).double() + 0.1 * torch.eye(15, dtype=torch.float64)
    )
    assert fit.mean == pytest.approx(float((inverse.sum(0) @ losses) / inverse.sum()), abs=1e-12)
    assert float(fit.weights.sum()) == pytest.approx(0, abs=1e-12)


@given(st.integers(0, 1000), st.floats(-5, 5), st.floats(0.1, 10))
def test_a_constant_added_and_a_factor_go_through(seed: int, constant: float, factor: float) -> None:
    seen, asked = cells(12, seed), cells(30, seed + 1)
    losses = torch.randn(12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    plain = expected(seen, losses.tolist(), asked)
    changed = expected(seen, (constant + factor * losses).tolist(), asked)
    assert torch.allclose(changed, constant + factor * plain, rtol=1e-6, atol=1e-6)


def test_noise_averages_out_over_cells_that_share_operations() -> None:
    """An additive loss seen with noise: what is expected is nearer to the truth than what was seen."""
    seen, worth = cells(60, 3), torch.linspace(0, 1, 24, dtype=torch.float64).reshape(6, 4)
    truth = worth[torch.arange(6), seen].sum(1)
    noisy = truth + 0.5 * torch.randn(60, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    error = (expected(seen, noisy.tolist(), seen) - truth).square().mean()
    assert float(error) < 0.6 * float((noisy - truth).square().mean())


def test_losses_all_alike_say_that_all_are_alike() -> None:
    assert torch.equal(expected(cells(5, 0), [1.5] * 5, cells(9, 1)), torch.full((9,), 1.5, dtype=torch.float64))
