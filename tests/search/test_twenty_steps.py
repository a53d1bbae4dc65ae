"""A search by the fast node is the search by the plain one: kernels, torch's own fused sum, and sums as they are written."""

import pytest
import torch
from torch.nn import functional as F

from midas.genotype import Genotype
from midas.search.arms.base import Arm
from midas.search.arms.mosaic import MidasArm
from midas.search.bilevel import build_search
from midas.search.config import SearchConfig
from midas.search.decode import decode, sample_weights
from midas.search.mixture import plain_sum
from midas.spaces import get_space
from tests.native.switch import kernels


def search(way: str, name: str, arm_name: str) -> tuple[list[float], Genotype]:
    """The losses of twenty steps of a search in float64, and the cell; `way` is how its nodes are computed."""
    space = get_space(name).without(["none"])
    config = SearchConfig(arm=arm_name, channels=4, cells=1 if name == "nasbench201" else 3)
    with pytest.MonkeyPatch.context() as patch, kernels(on=way == "kernels"):
        if way == "plain":
            patch.setattr(MidasArm, "mix", Arm.mix)
            patch.setattr("midas.search.arms.base.weighted_sum", plain_sum)
        supernet, arm = build_search(space, config, num_classes=10, seed=0)
        supernet.double(), arm.double()
        draw = torch.Generator().manual_seed(0)
        images = torch.rand(40, 8, 3, 16, 16, generator=draw, dtype=torch.float64)
        labels = torch.randint(0, 10, (40, 8), generator=draw)
        learners = [
            (arm, torch.optim.Adam(arm.parameters(), 3e-3)),
            (supernet, torch.optim.SGD(supernet.parameters(), 0.025, 0.9)),
        ]
        losses = []
        for step in range(40):  # an architecture step and a weight step in turns
            learner, optimiser = learners[step % 2]
            learners[1 - step % 2][0].requires_grad_(False)
            learner.requires_grad_(True).zero_grad()
            x = images[step].to(memory_format=torch.channels_last)
            loss = F.cross_entropy(supernet(x, arm)[0], labels[step])
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        return losses, decode(sample_weights(supernet, arm, [images[0]]), space)


@pytest.mark.parametrize(
    ("space", "arm"),
    [("nasbench201", "midas"), ("nasbench201", "darts"), pytest.param("darts", "midas", marks=pytest.mark.slow)],
)
def test_twenty_steps_either_way_have_the_same_losses_and_the_same_cell(space: str, arm: str) -> None:
    (fast, cell), *others = (search(way, space, arm) for way in ("kernels", "fused", "plain"))
    assert fast[-1] != fast[0]
    for losses, other in others:
        assert losses == pytest.approx(fast, abs=1e-8)
        assert other == cell
