"""Twenty steps of a search in float64 come to the recorded losses, whatever was rewritten."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas.search.config import SearchConfig
from midas.search.methods import Method
from midas.search.run import build_search
from midas.search.supernet import Supernet
from midas.spaces import get_space

STEPS = (1, 10, 20, 40)  # whose losses are recorded
RECORDED = {
    ("nasbench201", "midas"): (
        2.3390285158475654,
        2.493616335860456,
        2.2356092112330574,
        2.043037528806447,
    ),
    ("nasbench201", "darts"): (
        2.342109822128385,
        2.4678253416093567,
        2.238971897418341,
        2.0743478510417286,
    ),
    ("darts", "midas"): (
        2.352458399516425,
        2.3156618541733303,
        2.3434152865366356,
        2.246940224429019,
    ),
    ("darts", "darts-pairs"): (
        2.356509511912887,
        2.309929007698804,
        2.351795589367333,
        2.2546557179044626,
    ),
    ("rdarts-s1", "midas"): (
        2.3831984705422227,
        2.3509212463882108,
        2.378416180755796,
        2.3038780908796057,
    ),
}


def random_batches() -> tuple[Tensor, Tensor]:
    """Forty batches of noise, [40, 8, 3, 16, 16] in float64, and their labels [40, 8]."""
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(40, 8, 3, 16, 16, generator=draws, dtype=torch.float64)
    return images, torch.randint(0, 10, (40, 8), generator=draws)


def twenty_steps(space_name: str, method_name: str) -> tuple[list[float], Supernet, Method]:
    """Train a small search by twenty architecture and twenty weight steps, in turns.

    Returns the forty losses, the supernet and the method.
    """
    space = get_space(space_name).without(["none"])
    cells = 1 if space_name == "nasbench201" else 3
    config = SearchConfig(method=method_name, channels=4, cells=cells)
    supernet, method = build_search(space, config, num_classes=10, seed=0)
    supernet.double()
    method.double()
    images, labels = random_batches()
    learners: list[tuple[nn.Module, torch.optim.Optimizer]] = [
        (method, torch.optim.Adam(method.parameters(), 3e-3)),
        (supernet, torch.optim.SGD(supernet.parameters(), 0.025, 0.9)),
    ]
    losses = []
    for step in range(40):
        learner, optimiser = learners[step % 2]
        learners[1 - step % 2][0].requires_grad_(False)
        learner.requires_grad_(True).zero_grad()
        batch = images[step].to(memory_format=torch.channels_last)
        loss = F.cross_entropy(supernet(batch, method)[0], labels[step])
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses, supernet, method


@pytest.mark.parametrize(("space_name", "method_name"), RECORDED)
def test_twenty_steps_have_the_recorded_losses(space_name: str, method_name: str) -> None:
    losses, _, _ = twenty_steps(space_name, method_name)
    recorded = RECORDED[space_name, method_name]
    assert [losses[step - 1] for step in STEPS] == pytest.approx(recorded, rel=0, abs=1e-8)
