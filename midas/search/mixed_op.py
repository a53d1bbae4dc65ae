"""The mixed operation: the weighted sum of the candidates' outputs at a node.

`plain_mixed_op` is the definition, and what runs on GPUs and without a C compiler. On a CPU
`midas.search.node_kernel` reads each output once in a pass; tests hold the two equal.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from midas.kernels.build import compatible, usable
from midas.search import node_kernel
from midas.search.patches import spread


def mixed_op(op_outputs: Sequence[Tensor], weights: Tensor, patch: int | None) -> Tensor:
    """The sum over E candidates of weights, [B or 1, Ph, Pw, E], times outputs, [B, C, H, W] each.

    `patch` is the side of a patch in pixels; None where one patch covers the map.
    """
    if usable(node_kernel.SOURCE, *op_outputs) and compatible(op_outputs[0], weights.contiguous()):
        return node_kernel.weighted_sum(op_outputs, weights, patch)
    return plain_mixed_op(op_outputs, weights, patch)


def plain_mixed_op(op_outputs: Sequence[Tensor], weights: Tensor, patch: int | None) -> Tensor:
    """`mixed_op` in torch."""
    factors = spread(weights, op_outputs[0].shape[-2:], patch).unbind(-1)  # each [B, H, W]
    total = op_outputs[0] * factors[0].unsqueeze(1)
    for output, factor in zip(op_outputs[1:], factors[1:], strict=True):
        total = torch.addcmul(total, output, factor.unsqueeze(1))
    return total
