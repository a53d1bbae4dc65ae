"""How weights learn, by SGD, the same for a supernet and for the short trainings of decoded cells; and how an architecture does."""

from collections.abc import Iterable, Sequence

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
    # the kernel wants all momenta or none, and an arm that draws leaves weights out of a step
    if fused and config.momentum:
        for weight in learned:
            optimiser.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    return optimiser


def arch_optimiser(architecture: Sequence[nn.Parameter], config: SearchConfig, decays: bool) -> torch.optim.Adam:
    """The optimiser of an arm's parameters; weight decay acts on them where the arm says so."""
    return torch.optim.Adam(
        architecture,
        config.arch_learning_rate,
        betas=(0.5, 0.999),
        weight_decay=config.arch_weight_decay if decays else 0.0,
        fused=all(parameter.is_cuda for parameter in architecture) or None,
    )
