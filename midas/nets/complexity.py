"""What a network costs: its parameters and its multiply-adds.

Only the multiply-adds of convolutions and linear layers count, without biases. By this convention
DARTS_V2 at ImageNet size has 529.9M; the paper prints 574M.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn


def count_parameters(model: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def count_macs(model: nn.Module, input_size: tuple[int, int, int]) -> int:
    """The multiply-adds for one image of `input_size` (channels, height, width).

    `torch.utils.flop_counter.FlopCounterMode` counts the same, in two to five times as long.
    """
    total = 0

    def add(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        # each output value sums over the weights of one filter, or of one row of a linear layer
        total += output[0].numel() * cast(Tensor, module.weight)[0].numel()

    counted = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [module.register_forward_hook(add) for module in counted]
    training = model.training
    weight = next(model.parameters())
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, *input_size, device=weight.device, dtype=weight.dtype))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return total
