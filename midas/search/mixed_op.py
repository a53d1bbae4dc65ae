"""The mixed operation: the weighted sum of the candidates' outputs at a node.

`plain_mixed_op` is the definition. On a CPU `midas.search.node_kernel` reads each output once;
tests hold the two equal. The last row and column of patches may be smaller.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from midas.kernels.build import compatible, usable
from midas.search import node_kernel


def patch_means(x: Tensor, patch: int | None) -> Tensor:
    """The mean over each patch of a map [B, C, H, W], as [B, ceil(H / patch), ceil(W / patch), C].

    Without a patch size, or with one that is not smaller, the whole map is one patch.
    """
    if patch is None or patch >= max(x.shape[-2:]):
        return x.mean(dim=(2, 3))[:, None, None, :]
    means = F.avg_pool2d(x, patch, ceil_mode=True, count_include_pad=False)
    return means.permute(0, 2, 3, 1)  # [B, C, Ph, Pw] -> [B, Ph, Pw, C]


def spread(values: Tensor, size: Sequence[int], patch: int | None) -> Tensor:
    """The patches' values [B, Ph, Pw, K] for each pixel, [B, H, W, K]; as they are if no patch."""
    if patch is None:
        return values
    rows = values.repeat_interleave(patch, 1)[:, : size[0]]
    return rows.repeat_interleave(patch, 2)[:, :, : size[1]]


def mixed_op(op_outputs: Sequence[Tensor], weights: Tensor, patch: int | None) -> Tensor:
    """The sum over E candidates of weights [B or 1, Ph, Pw, E] times outputs [B, C, H, W] each."""
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
