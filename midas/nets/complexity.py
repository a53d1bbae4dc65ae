"""What a network costs: parameters, and multiply-adds of its convolutions and linear layers.

The convention: one multiplication with its addition counts once; batch norm, pooling, activations, additions and biases
count nothing. DARTS_V2 at ImageNet size is 529.9M by it (the paper prints 574M, which this convention does not give).
"""

from typing import Any

import torch
from torch import Tensor, nn


def count_parameters(model: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def count_macs(model: nn.Module, input_size: tuple[int, int, int]) -> int:
    """The multiply-adds of one image.

    Args:
        model: a network; its mode, weights and batch-norm statistics are left as they are.
        input_size: channels, height and width of the image.
    """
    total = 0

    def add(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):  # every output value sums over one group's channels and the kernel
            total += output[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += output[0].numel() * module.in_features

    hooks = [
        module.register_forward_hook(add) for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    training, weight = model.training, next(model.parameters())
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, *input_size, device=weight.device, dtype=weight.dtype))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return total
