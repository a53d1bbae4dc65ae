"""What some cells' losses say about others: a Gaussian process, equal to scikit-learn's."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from torch import Tensor
from torch.nn import functional as F

from midas.proxy import priors as module
from midas.proxy.priors import predict_mean


def cells(count: int, seed: int, edges: int = 6) -> Tensor:
    """Different cells of four operations, as numbers [count, edges]."""
    draws = torch.randperm(4**edges, generator=torch.Generator().manual_seed(seed))[:count]
    return torch.stack([draws // 4**edge % 4 for edge in range(edges)], 1)


def random_losses(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, generator=generator, dtype=torch.float64)


def covariance(seen: Tensor, correlation: float, noise: float) -> Tensor:
    """Of the losses seen, over s^2."""
    differing = (seen[:, None] != seen).sum(2)
    return correlation ** differing.double() + noise * torch.eye(len(seen), dtype=torch.float64)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_a_gaussian_process_on_one_hot_operations(seed: int) -> None:
    """r^h is the squared exponential of one-hot vectors, whose squared distance is 2 h."""
    seen = cells(20, seed)
    queried = cells(50, seed + 100)
    losses = random_losses(20, seed)
    fits = [
        (module._fit(seen, losses, correlation, noise), noise)
        for correlation, noise in product(module.CORRELATIONS, module.NOISE)
    ]
    fit, noise = max(fits, key=lambda pair: pair[0].likelihood)
    scale = float((-1 / torch.tensor(fit.correlation).double().log()).sqrt())
    kernel = ConstantKernel(1.0, "fixed") * RBF(scale, "fixed")
    peer = GaussianProcessRegressor(kernel, alpha=noise, optimizer=None)
    peer.fit(F.one_hot(seen, 4).flatten(1).numpy(), (losses - fit.mean).numpy())
    predicted = peer.predict(F.one_hot(queried, 4).flatten(1).numpy())
    expected = fit.mean + torch.from_numpy(predicted)
    means = predict_mean(seen, losses.tolist(), queried)
    assert torch.allclose(means, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_likelihood_is_that_of_the_contrasts(seed: int) -> None:
    """With the mean integrated out, it is the density of 14 orthonormal contrasts of 15 losses.

    The contrasts hold nothing of the mean.
    """
    seen = cells(15, seed)
    losses = random_losses(15, seed)
    start = torch.cat([torch.ones(15, 1), torch.eye(15)[:, :14]], 1).double()
    contrasts = torch.linalg.qr(start).Q[:, 1:]

    def log_density(correlation: float, noise: float) -> float:
        values = contrasts.T @ losses
        spread = contrasts.T @ covariance(seen, correlation, noise) @ contrasts
        scale = values @ torch.linalg.solve(spread, values) / 14
        normal = torch.distributions.MultivariateNormal(torch.zeros(14).double(), scale * spread)
        return float(normal.log_prob(values))

    pairs = ((0.5, 0.1), (0.9, 0.03), (0.7, 1.0))
    likelihoods = [module._fit(seen, losses, *pair).likelihood for pair in pairs]
    densities = [log_density(*pair) for pair in pairs]
    differences = [likelihood - likelihoods[0] for likelihood in likelihoods]
    expected = [density - densities[0] for density in densities]
    assert differences == pytest.approx(expected, abs=1e-8)


def test_the_mean_is_the_one_of_least_error() -> None:
    """By generalised least squares; the weights of the cells seen then sum to 0."""
    seen = cells(15, 5)
    losses = random_losses(15, 5)
    fit = module._fit(seen, losses, 0.7, 0.1)
    inverse = torch.linalg.inv(covariance(seen, 0.7, 0.1))
    assert fit.mean == pytest.approx(float((inverse.sum(0) @ losses) / inverse.sum()), abs=1e-12)
    assert float(fit.weights.sum()) == pytest.approx(0, abs=1e-12)


@given(st.integers(0, 1000), st.floats(-5, 5), st.floats(0.1, 10))
def test_a_constant_added_and_a_factor_go_through(
    seed: int, constant: float, factor: float
) -> None:
    seen = cells(12, seed)
    queried = cells(30, seed + 1)
    losses = random_losses(12, seed)
    plain = predict_mean(seen, losses.tolist(), queried)
    changed = predict_mean(seen, (constant + factor * losses).tolist(), queried)
    assert torch.allclose(changed, constant + factor * plain, rtol=1e-6, atol=1e-6)


def test_noise_averages_out_over_cells_that_share_operations() -> None:
    """An additive loss seen with noise: predictions are nearer to the truth than what was seen."""
    seen = cells(60, 3)
    op_losses = torch.linspace(0, 1, 24, dtype=torch.float64).reshape(6, 4)
    truth = op_losses[torch.arange(6), seen].sum(1)
    noisy = truth + 0.5 * random_losses(60, 3)
    error = (predict_mean(seen, noisy.tolist(), seen) - truth).square().mean()
    assert float(error) < 0.6 * float((noisy - truth).square().mean())


def test_equal_losses_predict_the_same_loss_for_all() -> None:
    means = predict_mean(cells(5, 0), [1.5] * 5, cells(9, 1))
    assert torch.equal(means, torch.full((9,), 1.5, dtype=torch.float64))
