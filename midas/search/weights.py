"""How weights learn: SGD, the same for a supernet and for the short trainings of decoded cells."""

from collections.abc import Iterable

import torch
from torch import nn

from midas.search.config import SearchConfig


def weight_optimiser(weights: Iterable[nn.Parameter], config: SearchConfig) -> torch.optim.SGD:
    """The optimiser of `weights` at the search's largest learning rate; a schedule is the caller's. On a GPU it is one kernel."""
    learned = list(weights)
    fused = all(weight.is_cuda for weight in learned)
    optimiser = torch.optim.SGD(
        learned,
        config.learning_rate,
        config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
        fused=fused or None,
    )
    if (
        fused and config.momentum
    ):  # the kernel wants all momenta or none, and an arm that draws leaves weights out of a step
        for weight in learned:
            optimiser.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    return optimiser
