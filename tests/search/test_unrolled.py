"""The second-order gradient against automatic differentiation through the step of the weights."""

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import layer_norm

from midas.search.arms.base import Arm
from midas.search.arms.mosaic import MidasArm
from midas.search.attention import MosaicAttention
from midas.search.bilevel import build_search
from midas.search.config import SearchConfig
from midas.search.mixture import plain_sum
from midas.search.unrolled import unrolled_gradient
from midas.spaces import get_space


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("arm", ["darts", "midas"])
def test_the_finite_difference_equals_the_derivative_through_the_step(
    arm: str, momentum: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the paper's step is as long as float32 needs; in float64 a short one shows that the formula is the derivative
    monkeypatch.setattr("midas.search.unrolled.EPSILON", 1e-6)
    # automatic differentiation of a gradient needs the plain sums and products
    monkeypatch.setattr(
        MosaicAttention, "_product", lambda _, keys, back: (layer_norm(keys, keys.shape[-1:]) * back).sum(-1)
    )
    monkeypatch.setattr("midas.search.arms.base.weighted_sum", plain_sum)
    monkeypatch.setattr(MidasArm, "mix", Arm.mix)
    torch.manual_seed(0)
    config = SearchConfig(arm=arm, channels=2, cells=1)
    supernet, weigh = build_search(get_space("nasbench201").without(["none"]), config, num_classes=3, seed=0)
    supernet.double(), weigh.double()
    images = [torch.randn(6, 3, 8, 8, dtype=torch.float64) for _ in range(2)]
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    names, weights = zip(*supernet.named_parameters(), strict=True)
    architecture, rate, decay = list(weigh.parameters()), 0.1, 3e-4
    velocity = [0.1 * torch.randn_like(w) for w in weights]

    def loss(which: int) -> Tensor:
        return torch.nn.functional.cross_entropy(supernet(images[which], weigh)[0], labels)

    got = unrolled_gradient(lambda: loss(0), lambda: loss(1), weights, architecture, velocity, rate, momentum, decay)
    before = [w.detach().clone() for w in weights]
    gradients = torch.autograd.grad(loss(0), weights, create_graph=True)
    moved = {
        name: w - rate * (g + decay * w + momentum * v)
        for name, w, g, v in zip(names, weights, gradients, velocity, strict=True)
    }
    valid = torch.nn.functional.cross_entropy(functional_call(supernet, moved, (images[1], weigh))[0], labels)
    expected = torch.autograd.grad(valid, architecture)
    scale = max(float(e.abs().max()) for e in expected)
    for g, e in zip(got, expected, strict=True):
        assert torch.allclose(g, e, rtol=0, atol=1e-4 * scale)
    assert all(torch.equal(w, b) for w, b in zip(weights, before, strict=True))
