"""The two optimisers of a search: SGD for weights and Adam for architectures."""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from midas.search.config import SearchConfig


def weight_optimiser(weights: Iterable[nn.Parameter], config: SearchConfig) -> torch.optim.SGD:
    """SGD at the search's largest learning rate; on a GPU one kernel."""
    parameters = list(weights)
    fused = all(parameter.is_cuda for parameter in parameters)
    optimiser = torch.optim.SGD(
        parameters,
        config.learning_rate,
        config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
        fused=fused or None,
    )
    if fused and config.momentum:
        # the kernel wants all momenta or none, and a method that draws leaves weights out of a step
        for parameter in parameters:
            optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimiser


def arch_optimiser(
    architecture: Sequence[nn.Parameter], config: SearchConfig, decays: bool
) -> torch.optim.Adam:
    """Adam for a method's parameters; weight decay acts on them where the method says so."""
    return torch.optim.Adam(
        architecture,
        config.arch_learning_rate,
        betas=(0.5, 0.999),
        weight_decay=config.arch_weight_decay if decays else 0.0,
        fused=all(parameter.is_cuda for parameter in architecture) or None,
    )
