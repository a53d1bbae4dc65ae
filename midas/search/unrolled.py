"""The second-order architecture gradient of DARTS (arXiv 1806.09055, equations 7 and 8).

The architecture is judged at the weights after one more step of SGD. The product with the mixed second derivative is a
finite difference of two first-order gradients, as in the paper: four passes in place of one.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Loss = Callable[[], Tensor]
EPSILON = 0.01  # the finite difference's step is this over the norm of the direction (the paper's footnote 2)


def unrolled_gradient(
    train_loss: Loss,
    valid_loss: Loss,
    weights: Sequence[Tensor],
    architecture: Sequence[Tensor],
    velocity: Sequence[Tensor | None],
    learning_rate: float,
    momentum: float,
    weight_decay: float,
) -> list[Tensor]:
    """The gradient of valid_loss(w - lr * d, a) in a, where d is the next direction of train_loss at (w, a) of SGD
    with momentum; as in DARTS without clipping, and without Nesterov's look ahead.

    Args:
        train_loss: the loss on a batch of the weights' half, at the current values of both kinds of parameters.
        valid_loss: the loss on a batch of the architecture half.
        weights: all require gradients; their values are moved here and put back to the bit.
        architecture: all require gradients.
        velocity: SGD's momentum buffers, None where there is none yet.
        learning_rate: of the weights, as are momentum and weight_decay.

    Returns:
        One gradient for each of `architecture`.
    """
    saved = [w.detach().clone() for w in weights]
    gradients = torch.autograd.grad(train_loss(), weights)
    with torch.no_grad():
        for w, g, v in zip(weights, gradients, velocity, strict=True):
            direction = g + weight_decay * w + (0 if v is None else momentum * v)
            w.sub_(learning_rate * direction)
    both = torch.autograd.grad(valid_loss(), [*architecture, *weights])
    first, towards = both[: len(architecture)], both[len(architecture) :]
    norm = torch.stack([g.square().sum() for g in towards]).sum().sqrt()
    step = EPSILON / float(norm.clamp_min(1e-12))
    ends = []
    for sign in (1, -1):
        _set(weights, saved, towards, sign * step)
        ends.append(torch.autograd.grad(train_loss(), architecture))
    _set(weights, saved, towards, 0)
    return [g - learning_rate * (p - n) / (2 * step) for g, p, n in zip(first, *ends, strict=True)]


@torch.no_grad()
def _set(weights: Sequence[Tensor], start: Sequence[Tensor], direction: Sequence[Tensor], step: float) -> None:
    for w, s, d in zip(weights, start, direction, strict=True):
        w.copy_(s + step * d if step else s)
